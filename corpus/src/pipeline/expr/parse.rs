//! Text to a typed tree, by recursive descent with a bounded depth. Must not evaluate anything.

use super::{ExprError, MAX_DEPTH, Node, Op, Type};
use crate::pipeline::rules::Column;

pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    columns: &'a [Column],
}

type Part = Result<(Node, Type), ExprError>;

pub(super) fn expect(got: Type, expected: Type) -> Result<(), ExprError> {
    if got == expected { Ok(()) } else { Err(ExprError::Types { got: got.name(), expected: expected.name() }) }
}

const COMPARISONS: [(&str, Op); 6] =
    [("==", Op::Equal), ("!=", Op::Unequal), ("<=", Op::LessEqual), (">=", Op::GreaterEqual), ("<", Op::Less), (">", Op::Greater)];

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, columns: &'a [Column]) -> Self {
        Self { text, at: 0, depth: 0, columns }
    }

    pub(super) fn whole(mut self) -> Part {
        let part = self.or()?;
        self.spaces();
        if self.at == self.text.len() { Ok(part) } else { Err(self.syntax("an operator or the end")) }
    }

    fn syntax(&self, expected: &'static str) -> ExprError {
        ExprError::Syntax { at: self.at, expected }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.spaces();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    /// The next word without taking it.
    fn word(&mut self) -> &'a str {
        self.spaces();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        rest.get(..end).unwrap_or("")
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.word() == keyword;
        self.at += if found { keyword.len() } else { 0 };
        found
    }

    fn or(&mut self) -> Part {
        self.chain(&[("or", Op::Or)], true, Self::and)
    }

    fn and(&mut self) -> Part {
        self.chain(&[("and", Op::And)], true, Self::not)
    }

    fn not(&mut self) -> Part {
        if !self.keyword("not") {
            return self.test();
        }
        self.deeper()?;
        let (node, kind) = self.not()?;
        self.depth -= 1;
        expect(kind, Type::Boolean)?;
        Ok((Node::Not(Box::new(node)), Type::Boolean))
    }

    fn test(&mut self) -> Part {
        let (left, kind) = self.sum()?;
        let Some(&(_, op)) = COMPARISONS.iter().find(|(sign, _)| self.take(sign)) else { return Ok((left, kind)) };
        let (right, other) = self.sum()?;
        expect(other, kind)?;
        Ok((Node::Two(op, Box::new(left), Box::new(right)), Type::Boolean))
    }

    fn sum(&mut self) -> Part {
        self.chain(&[("+", Op::Add), ("-", Op::Subtract)], false, Self::product)
    }

    fn product(&mut self) -> Part {
        self.chain(&[("*", Op::Multiply), ("/", Op::Divide)], false, Self::term)
    }

    /// Parts of one kind between operators, from left to right.
    fn chain(&mut self, operators: &[(&str, Op)], words: bool, next: fn(&mut Self) -> Part) -> Part {
        let needed = if words { Type::Boolean } else { Type::Number };
        let (mut left, mut kind) = next(self)?;
        let mut links = 0;
        while let Some(&(_, op)) = operators.iter().find(|(sign, _)| if words { self.keyword(sign) } else { self.take(sign) }) {
            // A chain leans to the left: evaluation goes as deep as it is long.
            links += 1;
            if links > MAX_DEPTH {
                return Err(ExprError::TooDeep);
            }
            let (right, other) = next(self)?;
            expect(kind, needed)?;
            expect(other, needed)?;
            left = Node::Two(op, Box::new(left), Box::new(right));
            kind = needed;
        }
        Ok((left, kind))
    }

    fn deeper(&mut self) -> Result<(), ExprError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(ExprError::TooDeep) } else { Ok(()) }
    }

    fn term(&mut self) -> Part {
        self.spaces();
        if self.take("(") {
            self.deeper()?;
            let inner = self.or()?;
            self.depth -= 1;
            return if self.take(")") { Ok(inner) } else { Err(self.syntax("a closing bracket")) };
        }
        if self.take("-") {
            self.deeper()?;
            let (inner, kind) = self.term()?;
            self.depth -= 1;
            expect(kind, Type::Number)?;
            return Ok((Node::Negative(Box::new(inner)), Type::Number));
        }
        match self.rest().chars().next() {
            Some('\'') => self.quoted(),
            Some(c) if c.is_ascii_digit() => self.digits(),
            Some(c) if c.is_alphabetic() || c == '_' => self.named(),
            Some(_) | None => Err(self.syntax("a number, a text in single quotes, a column or a bracket")),
        }
    }

    fn quoted(&mut self) -> Part {
        let rest = self.rest().get(1..).unwrap_or("");
        let end = rest.find('\'').ok_or_else(|| self.syntax("a closing quote"))?;
        self.at += end + 2;
        Ok((Node::Text(rest.get(..end).unwrap_or("").to_owned()), Type::Text))
    }

    fn digits(&mut self) -> Part {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|n| n.parse::<f64>().ok()).filter(|n| n.is_finite());
        let number = number.ok_or_else(|| self.syntax("a number"))?;
        self.at += end;
        Ok((Node::Number(number), Type::Number))
    }

    fn named(&mut self) -> Part {
        let name = self.word();
        self.at += name.len();
        match name {
            "true" => return Ok((Node::Boolean(true), Type::Boolean)),
            "false" => return Ok((Node::Boolean(false), Type::Boolean)),
            "len" | "missing" if self.take("(") => {
                let inner = self.word();
                self.at += inner.len();
                let (at, kind) = self.column(inner)?;
                if !self.take(")") {
                    return Err(self.syntax("a closing bracket"));
                }
                if name == "missing" {
                    return Ok((Node::Missing(at), Type::Boolean));
                }
                expect(kind, Type::Text)?;
                return Ok((Node::Length(at), Type::Number));
            }
            _ => {}
        }
        let (at, kind) = self.column(name)?;
        Ok((Node::Column(at), kind))
    }

    fn column(&self, name: &str) -> Result<(usize, Type), ExprError> {
        let found = self.columns.iter().position(|c| c.name == name);
        let at = found.ok_or_else(|| ExprError::NoColumn { name: name.chars().take(64).collect() })?;
        Ok((at, Type::of(self.columns[at].kind)))
    }
}
