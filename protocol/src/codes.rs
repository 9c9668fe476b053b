//! Closed sets of reasons, terms and the like, which are stated where a free text could quote something: a number in CBOR, and one word wherever
//! people read it. Knows none of them.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $n:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(minicbor::Encode, minicbor::Decode, minicbor::CborLen, serde::Serialize, serde::Deserialize)]
        #[cbor(index_only)]
        pub enum $name { $($(#[$vdoc])* #[n($n)] #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// As entries, commands and reports spell it.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
            /// The code spelled so.
            pub fn from_name(text: &str) -> Option<Self> { Self::ALL.iter().copied().find(|c| c.name() == text) }
        }
    };
}

pub(crate) use codes;
