//! Sentences of Chinese messages. Classes share rules on purpose; all names are invented. Must not know chance or operators.

use super::grammar::Bank;
use super::slots::Style;

mod rules;

/// The Chinese bank of sentences.
pub(super) const BANK: Bank = Bank {
    classes: [ORDINARY, ADVERTISEMENT, PHISHING, IMPERSONATION, REFUND, JOB],
    rules: rules::RULES,
    names: NAMES,
    style: Style {
        days: &["今天", "明天", "后天", "本周五", "周日", "月底", "下周一", "今晚"],
        date: ["", "月", "日"],
        phone: &["000-555501", "0000-55501", "000-555502"],
        large: &["万元", "万", ",000元"],
    },
};

const ORDINARY: &[&str] = &[
    "{tag}{hi}{bank_event}。{bank_safe}{bye}",
    "{tag}{hi}{bank_event}[，余额{money2}元|]。{bank_safe}",
    "{tag}{bank_event}。{bank_safe}[验证码{code}，{n}分钟内有效。|]",
    "[【{shop}】|【{telco}】|{tag}][您的|]验证码[是|：|]{code}，{code_safe}{bye}",
    "{parcel_tag}{parcel_event}，{parcel_safe}{bye}",
    "{parcel_tag}{hi}{parcel_event}，{parcel_safe}[ {url}可查进度|]",
    "【{shop}】{hi}{refund_event}，{refund_safe}{bye}",
    "{family}，{family_open}。{family_safe}",
    "{boss_open}，{boss_safe}",
    "{friend_open}，{friend_safe}",
    "{police_open}，{police_safe}",
    "{hi}{loan_event}，{loan_safe}{bye}",
    "{job_open}，{job_safe}",
    "{warn}[|孩子们注意，|老人们注意，]{quoted}{deny}",
    "{chat_open}{quoted}{doubt}[{daily}|]",
    "【{telco}】您{date}[已用流量{n}GB|话费余额{small}元|套餐内通话剩余{n}分钟]，[流量包已自动续订|请及时充值，以免影响使用|可登录{url}查询详单]{bye}",
    "【{clinic}】{hi}您预约的{date}{clock}[{ward}门诊|体检|复查]，请[提前{n}分钟|携带身份证]到[{n}号诊室|一楼大厅]，[不能来请回复取消|无需预付任何费用]。",
    "{daily}{daily}",
    "{daily}[对了，|]{family_open}。",
    "[【{city}天气】|]{date}[有雨|大风|降温{n}度]，[出门记得带伞|路上小心|请减少外出]。{warn}{deny}",
    "{family}，{money}元[我已经转给你了|我转给房东了|交学费的钱收到了]，[收到回我一声|不用再转|你查一下]。",
    "【{shop}】您的会员积分{points}分{date}到期，[到店可用|在App里可换礼品]，[不会以短信链接方式兑换|无需点击链接]。",
    "【{city}{school}】各位家长，{date}{clock}[开家长会|组织体检|放学提前]，[请准时到校|请安排接送|费用从伙食费扣，不用转账]。",
    "【{city}物业】{date}{hour}点起[停水|停电|电梯检修]{n}小时，[请提前储水|给您带来不便敬请谅解|恢复时间另行通知]。",
    "【{shop}】您预订的{date}{clock}[{n}号桌|包间]已确认，[迟到{n}分钟不保留|如需取消请回复]，[地址{place}|期待光临]。",
    "[会议|培训|值班]通知：{date}{clock}在{place}，[请带笔记本|不能来的请说一声]，{surname}老师。",
    "{daily}[收到|好的|谢谢]，{daily}",
    "[老{surname}|{surname}姐|{surname}哥]，{date}[打球|爬山|搬家|聚餐]，{clock}{place}见，[缺{n}个人|你来不来|带上{food}]？",
];

const ADVERTISEMENT: &[&str] = &[
    "【{shop}】{hi}{sale}，{sale_call}{stop}",
    "【{shop}】{sale}！{hurry}，{sale_call}{stop}",
    "{shop}[{city}店|]{sale}，[凭此短信|报手机尾号{tail}]{gift}{stop}",
    "{tag}{hi}{loan_offer}，{loan_honest}{stop}",
    "{tag}{points_offer}，{sale_call}{stop}",
    "【{telco}】{hi}{plan_offer}，{plan_call}{stop}",
    "{job_open}，{job_honest}{stop}",
    "【{courier}】[寄|退]快递[满{hundreds}元减{small}元|首单{small}元]，{hurry}，{sale_call}{stop}",
    "【{shop}】{hi}您的包裹里有惊喜：{gift}，{sale_call}{stop}",
    "【{shop}】您有一笔{hundreds}元[红包|返现|代金券]{hurry}，{sale_call}{stop}",
    "{city}[新房|学区房|公寓]首付{large}起，{date}[开盘|看房有礼]，[致电{phone}|到售楼处]{gift}{stop}",
    "【{shop}】{family_word}[节快乐|们看过来]！{sale}，{hurry}{stop}",
    "{tag}{hi}[分期|理财|储蓄]节：[{points}积分换礼|办卡送{hundreds}元立减券|年化{rate}%]，[理财有风险|以合同为准]，{plan_call}{stop}",
    "【{shop}】不是骗子也不用{code_word}，{sale}，{sale_call}{stop}",
    "[英语|编程|会计|驾校]培训{date}开班，[学费{money}元可分期|推荐就业]，{plan_call}{stop}",
];

const PHISHING: &[&str] = &[
    "{tag}{hi}{bank_event}。{bank_bad}{bye}",
    "{tag}{hi}{bank_event}[，余额{money2}元|]。{bank_bad}",
    "{tag}{bank_event}。{bank_bad}[验证码{code}，{n}分钟内有效。|]",
    "[【{shop}】|【{telco}】|{tag}][您的|]验证码[是|：|]{code}，{code_bad}{bye}",
    "{tag}{points_offer}，{points_bad}{stop}",
    "【{telco}】{hi}您的[{points}积分|话费余额{small}元]{date}到期，{points_bad}{bye}",
    "{warn}{bank_event}，{bank_bad}",
    "{warn}{deny}{tag}{bank_event}，{bank_bad}",
    "{tag}{hi}{bank_event}。{bank_safe}[但|另外，]{bank_bad}",
    "【{telco}】您的号码{date}起[因未实名认证|因欠费|因投诉]将停机，{bank_bad}",
];

const IMPERSONATION: &[&str] = &[
    "{family}，{family_open}。{family_bad}",
    "{family}，{family_open}。{daily}{family_bad}",
    "{boss_open}，{boss_bad}",
    "{boss_open}。{daily}{boss_bad}",
    "{friend_open}，{friend_bad}",
    "{friend_open}，{daily}{friend_bad}",
    "{police_open}，{police_bad}",
    "{warn}{police_open}，{police_bad}",
    "{warn}{deny}{police_open}，{police_bad}",
    "{police_open}，{police_safe}[，但|，不过]{police_bad}",
];

const REFUND: &[&str] = &[
    "【{shop}】{hi}{refund_event}，{refund_bad}{bye}",
    "{parcel_tag}{parcel_event}，{parcel_bad}{bye}",
    "{parcel_tag}{hi}{parcel_event}，{parcel_bad}",
    "{warn}{refund_event}，{refund_bad}",
    "【{shop}】{hi}{refund_event}，{refund_safe}[，但系统退款失败，|。如未到账，]{refund_bad}",
    "{parcel_tag}{hi}{parcel_event}，{refund_bad}{bye}",
    "【{telco}】{hi}[多收的话费{small}元可退|您有{hundreds}元话费返还]，{refund_bad}",
    "{warn}{deny}{parcel_tag}{parcel_event}，{parcel_bad}",
];

const JOB: &[&str] = &[
    "{job_open}，{job_bad}{stop}",
    "{job_open}，{job_bad}",
    "{tag}{hi}{loan_offer}，{loan_bad}{stop}",
    "{hi}{loan_event}，{loan_bad}{bye}",
    "{warn}{job_open}，{job_bad}",
    "{job_open}，{job_honest}[，但|，入职前]{job_bad}",
    "{tag}{loan_offer}，{loan_honest}[，但|。放款时]{loan_bad}",
    "{daily}{job_open}，{job_bad}",
];

const NAMES: &[(&str, &[&str])] = &[
    ("bank", &["云棹银行", "禾泽银行", "澹川银行", "栎原银行", "星渚银行", "鹭屿银行", "墨岚银行", "芷汀银行"]),
    ("shop", &["橙芽商城", "蓝兔优选", "麦垄百货", "拾贝家居", "鲸语书屋", "云锅小馆", "柚舍美容", "跃鹿健身", "豆丁乐园"]),
    ("courier", &["燕子脚快递", "蜗速快运", "丰雁快件", "驰鹿快送", "云邮小站"]),
    ("telco", &["星桥通信", "寰讯通信", "海岚电信", "竹笛移动网"]),
    ("clinic", &["禾苗诊所", "栎原门诊部", "星渚口腔"]),
    ("school", &["第二小学", "实验中学", "幼儿园"]),
    ("ward", &["口腔", "眼科", "内科", "儿科"]),
    ("city", &["云棹市", "栎原", "星渚", "鹭屿", "河湾区", "禾泽县"]),
    ("place", &["小区南门驿站", "七栋快递柜", "菜市场旁", "星渚广场", "学校门口", "栎原路网点", "河湾转运中心", "海关仓库", "地铁口"]),
    ("goods", &["羽绒服", "牛奶", "耳机", "童鞋", "火锅", "护肤品", "年货", "空调", "健身卡", "绘本", "水果"]),
    ("food", &["饺子", "面条", "火锅", "鱼", "西瓜", "粥"]),
    ("surname", &["王", "李", "张", "陈", "周", "吴", "孙", "林", "何", "赵"]),
];
