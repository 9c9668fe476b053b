//! Grows a message from templates: `[a|b|]` picks one branch, `{name}` fills a slot or grows a rule. Must not know classes' names.

use std::collections::BTreeMap;

use super::LABELS;
use super::dice::Dice;
use super::operator::Operator;
use super::slots;

/// Deepest growth of rules within rules. The longest chain of the banks is far shorter; a test grows them all.
const MAX_DEPTH: usize = 12;

/// The sentences of one language.
pub(super) struct Bank {
    /// Templates of each class.
    pub(super) classes: [&'static [&'static str]; LABELS.len()],
    /// Parts that templates share, by name.
    pub(super) rules: &'static [(&'static str, &'static [&'static str])],
    /// Invented names, by kind. One of a kind stays the same throughout a message.
    pub(super) names: &'static [(&'static str, &'static [&'static str])],
    /// Words of dates and times.
    pub(super) style: slots::Style,
}

/// Writes one message.
pub(super) struct Writer<'a> {
    bank: &'static Bank,
    operator: &'a Operator,
    dice: &'a mut Dice,
    /// What slots were filled with, so that a bank keeps its name from the first word to the last.
    filled: BTreeMap<String, String>,
}

impl<'a> Writer<'a> {
    /// A blank page.
    pub(super) fn new(bank: &'static Bank, operator: &'a Operator, dice: &'a mut Dice) -> Self {
        Self { bank, operator, dice, filled: BTreeMap::new() }
    }

    /// A message of the class.
    pub(super) fn message(&mut self, class: usize) -> String {
        let template = self.choose(class, self.bank.classes[class]);
        let mut out = String::new();
        self.grow(template, 0, &mut out);
        out
    }

    /// One of the items that this operator meets.
    fn choose(&mut self, list: usize, items: &'static [&'static str]) -> &'static str {
        let met: Vec<&'static str> =
            items.iter().enumerate().filter(|&(item, _)| self.operator.meets(list, item)).map(|(_, &text)| text).collect();
        let from: &[&str] = if met.is_empty() { items } else { &met };
        from[self.dice.below(from.len())]
    }

    /// Appends what the template grows into.
    pub(super) fn grow(&mut self, template: &str, depth: usize, out: &mut String) {
        let mut rest = template;
        while let Some(at) = rest.find(['[', '{']) {
            out.push_str(&rest[..at]);
            let length = bracket_length(&rest[at..]);
            let inner = &rest[at + 1..at + length - 1];
            if rest.as_bytes()[at] == b'{' {
                self.fill(inner, depth, out);
            } else {
                let branches = branches(inner);
                let branch = self.dice.pick(&branches);
                self.grow(branch, depth, out);
            }
            rest = &rest[at + length..];
        }
        out.push_str(rest);
    }

    /// Appends what stands for a name: a rule grows anew each time, a slot keeps its first filling. A digit behind a slot's name
    /// asks for a second one of its kind.
    fn fill(&mut self, name: &str, depth: usize, out: &mut String) {
        let bank = self.bank;
        if let Some(list) = bank.rules.iter().position(|(rule, _)| *rule == name) {
            if depth < MAX_DEPTH {
                let template = self.choose(LABELS.len() + list, bank.rules[list].1);
                self.grow(template, depth + 1, out);
            }
            return;
        }
        if !self.filled.contains_key(name) {
            let value = self.slot(name.trim_end_matches(|c: char| c.is_ascii_digit()));
            self.filled.insert(name.to_owned(), value);
        }
        out.push_str(&self.filled[name]);
    }

    fn slot(&mut self, kind: &str) -> String {
        let bank = self.bank;
        match bank.names.iter().position(|(name, _)| *name == kind) {
            // Lists of names are numbered behind the rules, so that an operator's choice differs from list to list.
            Some(list) => self.choose(LABELS.len() + bank.rules.len() + list, bank.names[list].1).to_owned(),
            None => slots::fill(kind, &bank.style, self.dice).unwrap_or_default(),
        }
    }
}

/// Bytes from an opening bracket to its closing one, both included; the whole text where it is missing.
fn bracket_length(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// The branches of a choice: separated by `|` outside inner brackets.
fn branches(inner: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => {
                out.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&inner[start..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_brackets_nest() {
        assert_eq!(branches("a|[b|c]|{d}|"), ["a", "[b|c]", "{d}", ""]);
        assert_eq!(bracket_length("[a[b]{c}]d"), 9);
    }

    /// Every name a template asks for exists, and every bracket is closed.
    #[test]
    fn the_banks_ask_for_nothing_that_is_not_there() {
        for bank in [&crate::sms::chinese::BANK, &crate::sms::english::BANK] {
            let templates = bank.classes.iter().copied().chain(bank.rules.iter().map(|(_, texts)| *texts)).flatten();
            for template in templates {
                assert!(known(template, bank), "{template}");
                assert_eq!(template.matches(['[', '{']).count(), template.matches([']', '}']).count(), "{template}");
            }
        }
    }

    fn known(template: &str, bank: &Bank) -> bool {
        let names = template.split('{').skip(1).filter_map(|tail| tail.split('}').next());
        let mut dice = Dice::new(0, 0);
        names.into_iter().all(|name| {
            let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
            bank.rules.iter().any(|(rule, _)| *rule == name)
                || bank.names.iter().any(|(n, _)| *n == kind)
                || slots::fill(kind, &bank.style, &mut dice).is_some()
        })
    }
}
