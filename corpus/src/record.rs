//! One record: a text, its label, perhaps its user. Must not show any of them by accident.

use std::fmt;

/// Language of a text, where the source says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Chinese, simplified characters.
    Chinese,
    /// English.
    English,
}

impl Language {
    /// The ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
        }
    }

    /// The language of an ISO 639-1 code, where it is one of ours.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// One labelled text of one institution.
///
/// # Privacy
/// Raw personal data. `Debug` prints lengths only.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The text.
    pub text: String,
    /// The label as the source spells it: becomes a class in [`crate::LabelSet`], or the labelled parts of the text in
    /// [`crate::spans::Spans`].
    pub label: String,
    /// Whose record it is, where the source says it: the unit of user-level privacy.
    pub user: Option<String>,
    /// The language, where the source says it.
    pub language: Option<Language>,
}

impl Record {
    /// The record as one line of JSON without a line end: fields `text`, `label`, and where known `user`, `language`.
    ///
    /// # Privacy
    /// The whole record in the clear, for data files of the institution itself.
    pub fn to_json_line(&self) -> String {
        let mut map = serde_json::Map::new();
        map.insert("text".into(), self.text.as_str().into());
        map.insert("label".into(), self.label.as_str().into());
        if let Some(user) = &self.user {
            map.insert("user".into(), user.as_str().into());
        }
        if let Some(language) = self.language {
            map.insert("language".into(), language.code().into());
        }
        serde_json::Value::Object(map).to_string()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("text_bytes", &self.text.len())
            .field("label_bytes", &self.label.len())
            .field("has_user", &self.user.is_some())
            .field("language", &self.language)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_record_shows_lengths_only() {
        let record = Record { text: "CANARY-text".into(), label: "CANARY-label".into(), user: Some("CANARY-user".into()), language: None };
        let shown = format!("{record:?} {record:#?}");
        assert!(!shown.contains("CANARY"));
        assert!(shown.contains("text_bytes: 11"));
    }
}
