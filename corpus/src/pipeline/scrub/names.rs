//! Names by rule: a surname before a form of address, or a name behind a word that announces one. Must not learn names from data.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Kind, compiled};

/// The hundred or so most frequent surnames of one character, and frequent ones of two.
const SURNAMES: &str = "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|令狐|[赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏窦章苏潘葛范彭郎鲁韦马苗方俞任袁柳鲍史唐费薛雷贺倪汤滕罗毕郝安常乐于傅齐康伍余顾孟黄穆萧尹姚邵汪祁毛狄戴宋庞熊纪舒屈项祝董梁杜阮蓝闵席季贾路江童颜郭梅盛林钟徐邱骆高夏蔡田胡凌霍万柯卢莫房解应宗丁宣邓洪包左石崔吉龚程邢裴陆荣翁段富焦巴牧谷车侯全班秋仲伊宫宁仇甘武符刘景詹束龙叶幸黎薄印白蒲赖卓屠蒙池乔闻党翟谭劳申冉桑桂牛边燕尚温庄晏柴瞿阎连习艾鱼容向古易廖耿满匡文欧沃隆师巩聂曾关]";

/// Forms of address that follow a name.
const TITLES: &str = "先生|女士|小姐|太太|经理|老师|医生|大夫|主任|教授|律师|同学|师傅|阿姨|叔叔|局长|院长|处长|科长|总监|护士";

/// Words behind which a name stands.
const CUES: &str = "姓名|联系人|收件人|患者|病人|户主|持卡人|客户|开户名|户名|申请人|被保险人|法定代表人|我叫|我是";

static CHINESE: LazyLock<Regex> = LazyLock::new(|| compiled(&format!("(?P<name>(?:{SURNAMES})\\p{{Han}}{{0,2}}?)(?P<title>{TITLES})")));
static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!("(?P<cue>(?:{CUES})(?:为|是|[:： ]){{0,3}})(?P<name>(?:{SURNAMES})\\p{{Han}}{{1,2}})(?P<end>[^\\p{{Han}}]|$)"))
});
static ENGLISH: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"(?-u:\b)(?P<cue>(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam)\.? )(?P<name>[A-Z][a-z'’\-]+(?: [A-Z][a-z'’\-]+)?)"));
static INTRODUCED: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?P<cue>(?-u:\b)(?i:dear|my name is|this is|patient|customer|name:|contact:|attn:?) )(?P<name>[A-Z][a-z'’\-]+ [A-Z][a-z'’\-]+)\b",
    )
});

/// Replaces names; gives how many.
pub(super) fn replace(text: &str) -> (String, u64) {
    let mut found = 0;
    let mut now = text.to_owned();
    for pattern in [&CHINESE, &ANNOUNCED, &ENGLISH, &INTRODUCED] {
        if !pattern.is_match(&now) {
            continue;
        }
        let out = pattern.replace_all(&now, |c: &Captures<'_>| {
            found += 1;
            let part = |name| c.name(name).map_or("", |m| m.as_str());
            format!("{}{}{}{}", part("cue"), Kind::Name.placeholder(), part("title"), part("end"))
        });
        now = out.into_owned();
    }
    (now, found)
}
