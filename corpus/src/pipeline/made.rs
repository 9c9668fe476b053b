//! Made-up records with planted personal data, repeats and faults: known answers for tests, and gigabytes for measurements. Every number
//! in them is drawn; must not know real data.

use super::scrub::Kind;
use super::scrub::digits::{CREDIT_ALPHABET, credit_check, id_check, luhn_check};
use crate::record::Record;
use crate::sms;

/// Messages that are made at once.
const BLOCK: usize = 20_000;
/// Operators of the generator of messages.
const OPERATORS: u32 = 4;

/// A stream of numbers from a seed: SplitMix64.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `most`, which is above zero.
    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % most.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.below(10)).unwrap_or(0))).collect()
    }
}

const PREFIXES: [&str; 10] = ["130", "135", "138", "139", "150", "158", "166", "177", "186", "199"];
const REGIONS: [&str; 8] = ["110101", "310115", "440305", "320102", "510107", "420106", "610113", "330106"];
const BINS: [&str; 6] = ["622202", "621700", "622848", "621661", "453242", "552599"];
const PROVINCES: [&str; 8] = ["京A", "沪B", "粤B", "苏E", "浙A", "川A", "鲁B", "闽D"];
const HOSTS: [&str; 4] = ["shop.example.com", "pay-bank.example.net", "a.example.cn", "x1.example.org"];
const GIVEN: [&str; 8] = ["伟", "芳", "秀英", "建国", "丽", "晓明", "雪", "志强"];
const FAMILY: [&str; 8] = ["王", "李", "张", "刘", "陈", "杨", "欧阳", "赵"];
const ENGLISH: [&str; 6] = ["Mr. Walker", "Mrs Bennett", "Dr. Rao", "Ms Novak", "Prof. Okafor", "Miss Lindqvist"];

/// One item of a kind, valid in its form and its check digit.
pub fn planted(kind: Kind, draw: &mut Draw) -> String {
    match kind {
        Kind::Url => format!("https://{}/{}?id={}", draw.pick(&HOSTS), draw.digits(3), draw.digits(4)),
        Kind::Email => format!("user{}@{}", draw.digits(4), draw.pick(&HOSTS)),
        Kind::Ip => format!("{}.{}.{}.{}", 10 + draw.below(200), draw.below(256), draw.below(256), 1 + draw.below(254)),
        Kind::CreditCode => {
            let body: String = (0..9).map(|_| char::from(CREDIT_ALPHABET[draw.below(CREDIT_ALPHABET.len())])).collect();
            let first = format!("91{}{body}", draw.pick(&REGIONS));
            with_check(&first, credit_check(first.as_bytes()))
        }
        Kind::IdNumber => {
            let first = format!(
                "{}{}{:02}{:02}{}",
                draw.pick(&REGIONS),
                1950 + draw.below(60),
                1 + draw.below(12),
                1 + draw.below(28),
                draw.digits(3)
            );
            with_check(&first, id_check(first.as_bytes()))
        }
        Kind::BankCard => {
            let length = [15, 18][draw.below(2)];
            let bin = draw.pick(&BINS);
            let first = format!("{bin}{}", draw.digits(length - bin.len()));
            with_check(&first, luhn_check(first.as_bytes()))
        }
        Kind::Mobile => format!("{}{}", draw.pick(&PREFIXES), draw.digits(8)),
        Kind::Phone => format!("0{}-{}{}", ["10", "21", "755", "28"][draw.below(4)], 2 + draw.below(8), draw.digits(7)),
        Kind::Plate => format!("{}{}{}", draw.pick(&PROVINCES), draw.pick(&["K", "M", "8"]), draw.digits(4)),
        Kind::Code => draw.digits(6),
        Kind::Name if draw.below(3) == 0 => draw.pick(&ENGLISH).to_owned(),
        Kind::Name => format!("{}{}", draw.pick(&FAMILY), draw.pick(&GIVEN)),
    }
}

fn with_check(first: &str, check: Option<u8>) -> String {
    format!("{first}{}", char::from(check.unwrap_or(b'0')))
}

/// The same with a wrong check digit, for kinds that have one: looks alike and is nobody's.
pub fn look_alike(kind: Kind, draw: &mut Draw) -> Option<String> {
    let right = planted(kind, draw);
    let alphabet: &[u8] = match kind {
        Kind::CreditCode => CREDIT_ALPHABET,
        Kind::IdNumber | Kind::BankCard => b"0123456789",
        Kind::Url | Kind::Email | Kind::Ip | Kind::Mobile | Kind::Phone | Kind::Plate | Kind::Code | Kind::Name => return None,
    };
    let (body, last) = right.split_at_checked(right.len().checked_sub(1)?)?;
    let wrong: Vec<u8> = alphabet.iter().copied().filter(|c| Some(c) != last.as_bytes().first()).collect();
    Some(format!("{body}{}", char::from(wrong[draw.below(wrong.len())])))
}

/// A sentence around an item of a kind.
pub fn sentence(kind: Kind, item: &str, draw: &mut Draw) -> String {
    let (before, after) = match kind {
        Kind::Url => [("请点击 ", " 办理"), ("details at ", " today"), ("登录", " 查询")][draw.below(3)],
        Kind::Email => [("发邮件至", "。"), ("write to ", " please")][draw.below(2)],
        Kind::Ip => [("登录地址", ",如非本人操作请联系我们"), ("sign-in from ", " blocked")][draw.below(2)],
        Kind::CreditCode => [("统一社会信用代码", "。"), ("税号:", ",请开票")][draw.below(2)],
        Kind::IdNumber => [("身份证号", "已登记"), ("证件号码:", "。"), ("id ", " on file")][draw.below(3)],
        Kind::BankCard => [("尾号卡", "消费100元"), ("请转账到", ",谢谢"), ("card ", " was charged")][draw.below(3)],
        Kind::Mobile => [("请致电", "联系"), ("call ", " now"), ("电话:", "。")][draw.below(3)],
        Kind::Phone => [("固话", "转2"), ("座机:", "。")][draw.below(2)],
        Kind::Plate => [("您的车辆", "有违章"), ("车牌:", "。")][draw.below(2)],
        Kind::Code => [("验证码:", ",请勿告诉他人"), ("您的验证码是", "。"), ("Your verification code is ", ".")][draw.below(3)],
        Kind::Name if item.is_ascii() => [("Dear ", ", your order"), ("please ask ", " at the desk")][draw.below(2)],
        Kind::Name => [("尊敬的", "先生,您好"), ("联系人:", "。"), ("患者姓名:", ",复诊")][draw.below(3)],
    };
    format!("{before}{item}{after}")
}

/// Lines of JSON without end: messages of four operators with subscribers, amounts and dates; among them planted personal data, equal and
/// nearly equal texts, missing values, outliers, and few lines that are no rows. The same seed gives the same lines.
pub struct Lines {
    draw: Draw,
    seed: u64,
    block: u64,
    made: Vec<Record>,
    before: Option<Record>,
}

impl Lines {
    /// The lines of a seed.
    pub fn new(seed: u64) -> Self {
        Self { draw: Draw::new(seed ^ 0x6d61_6465), seed, block: 0, made: Vec::new(), before: None }
    }

    fn record(&mut self) -> Option<Record> {
        if self.made.is_empty() {
            let operator = u32::try_from(self.block % u64::from(OPERATORS)).ok()?;
            self.made = sms::generate(self.seed.wrapping_add(self.block), operator, OPERATORS, BLOCK).ok()?;
            self.made.reverse();
            self.block += 1;
        }
        let mut record = self.made.pop()?;
        // Subscribers of another block are others.
        record.user = record.user.map(|user| format!("{user}-{}", self.block / 8));
        Some(record)
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut record = self.record()?;
        let draw = &mut self.draw;
        match (draw.below(100), &self.before) {
            (0..2, Some(before)) => record.text.clone_from(&before.text),
            (14..16, Some(before)) => record.clone_from(before),
            (2..4, Some(before)) => record.text = format!("{}{}", before.text, draw.digits(1)),
            (16..18, Some(before)) => record = Record { text: format!("{}{}", before.text, draw.digits(1)), ..before.clone() },
            (4..14, _) => {
                let kind = Kind::ALL[draw.below(Kind::ALL.len())];
                let item = planted(kind, draw);
                record.text = format!("{} {}", record.text, sentence(kind, &item, draw));
            }
            _ => {}
        }
        if draw.below(50_000) == 0 {
            return Some("{\"text\": \"a line that was cut".to_owned());
        }
        let amount = match draw.below(100) {
            0..3 => serde_json::Value::Null,
            3 => serde_json::Value::from(9_000_000 + draw.below(1000)),
            _ => serde_json::Value::from(draw.below(50_000)),
        };
        let sent = format!("2025-{:02}-{:02} {:02}:{:02}", 1 + draw.below(12), 1 + draw.below(28), draw.below(24), draw.below(60));
        let line = serde_json::json!({
            "text": record.text,
            "label": record.label,
            "subscriber": record.user,
            "amount": amount,
            "sent": sent,
        });
        if draw.below(2) == 0 {
            self.before = Some(record);
        }
        Some(line.to_string())
    }
}
