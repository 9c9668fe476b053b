//! Where two documents part: for people who want to know which figure was altered. Knows nothing of what figures mean.

use serde_json::Value;

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// The first place at which two documents differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Names and numbers on the way to it, with `/` between them.
    pub place: String,
    /// What the stated document says there.
    pub stated: String,
    /// What ours does.
    pub recomputed: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is stated as {}, came out as {}", self.place, self.stated, self.recomputed)
    }
}

/// The first difference of two documents in JSON. Nothing where they differ in spelling alone, or one is no JSON.
///
/// # Security
/// The bytes may be anybody's: what is told of them holds no control character and is short.
pub fn first_difference(stated: &[u8], ours: &[u8]) -> Option<Difference> {
    let [stated, ours] = [stated, ours].map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    within("", &stated?, &ours?)
}

fn within(place: &str, stated: &Value, ours: &Value) -> Option<Difference> {
    let absent = Value::Null;
    match (stated, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.find_map(|name| within(&format!("{place}/{name}"), a.get(name).unwrap_or(&absent), b.get(name).unwrap_or(&absent)))
        }
        (Value::Array(a), Value::Array(b)) => {
            let mut places = 0..a.len().max(b.len());
            places.find_map(|i| within(&format!("{place}/{i}"), a.get(i).unwrap_or(&absent), b.get(i).unwrap_or(&absent)))
        }
        (a, b) => (a != b).then(|| Difference { place: plain(place), stated: shown(a), recomputed: shown(b) }),
    }
}

fn plain(text: &str) -> String {
    text.escape_debug().collect()
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    plain(&short)
}
