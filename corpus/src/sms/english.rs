//! Sentences of English messages. Classes share rules on purpose; all names are invented. Must not know chance or operators.

use super::grammar::Bank;
use super::slots::Style;

mod rules;

/// The English bank of sentences.
pub(super) const BANK: Bank = Bank {
    classes: [ORDINARY, ADVERTISEMENT, PHISHING, IMPERSONATION, REFUND, JOB],
    rules: rules::RULES,
    names: NAMES,
    style: Style {
        days: &["today", "tomorrow", "on Friday", "on Sunday", "tonight", "next Monday", "this week"],
        date: ["on ", "/", ""],
        phone: &["555-01", "(000) 555-01", "020 555 01"],
        large: &["k", ",000", "00"],
    },
};

const ORDINARY: &[&str] = &[
    "{tag}{hi}{bank_event}. {bank_safe}{bye}",
    "{tag}{bank_event}[, balance ${money2}|]. {bank_safe}",
    "{tag}{bank_event}. {bank_safe}[ Code {code}, valid {n} min.|]",
    "[{shop}: |{telco}: |{tag}][Your |]code [is |]{code}. {code_safe}{bye}",
    "{parcel_tag}{parcel_event}. {parcel_safe}{bye}",
    "{parcel_tag}{hi}{parcel_event}. {parcel_safe}[ Track: {url}|]",
    "{shop}: {hi}{refund_event}. {refund_safe}{bye}",
    "{family}, {family_open}. {family_safe}",
    "{boss_open}. {boss_safe}",
    "{friend_open}. {friend_safe}",
    "{police_open}. {police_safe}",
    "{hi}{loan_event}. {loan_safe}{bye}",
    "{job_open}. {job_safe}",
    "[{warn}|Forwarded: ]{quoted} {deny}",
    "{chat_open}{quoted} {doubt}[ {daily}|]",
    "{telco}: [you have used {n}GB|your balance is ${small}|{n} minutes left] {date}. [Renewal is automatic|Please top up|Details: {url}]{bye}",
    "{clinic}: {hi}your [dental|eye|check-up] appointment is {date} at {clock}. [Please come {n} min early|Bring your card]. [Reply C to cancel|Nothing to pay in advance].",
    "{daily} {daily}",
    "{daily} [Btw|Also], {family_open}.",
    "{family}, [I sent you ${money}|the ${money} for school arrived|I paid the landlord ${money}]. [Tell me when you get it|No need to send more|Check please].",
    "{shop}: your {points} points expire {date}. [Use them in store|Swap them in the app], [we never send links for points|no link needed].",
    "{city} school: [parents' evening|sports day|early closing] is {date} at {clock}. [Please be on time|Bring a packed lunch|No fee to pay].",
    "{city} homes: [water|power|lift] works {date} from {clock} for {n} hours. [Sorry for the trouble|Please store some water].",
    "{shop}: your table for {n} {date} at {clock} is confirmed. [We hold it for {n2} min|Reply C to cancel|See you there].",
    "[Meeting|Training|Shift] {date} at {clock}, {place}. [Bring a laptop|Tell me if you cannot come], {first}.",
    "{daily} [Ok|Thanks|Got it]. {daily}",
    "Hi {first}, [football|hiking|moving house|lunch] {date}, {clock} at {place}, [are you in|bring {food}|we need {n} more]?",
];

const ADVERTISEMENT: &[&str] = &[
    "{shop}: {hi}{sale}. {sale_call}{stop}",
    "{shop}: {sale}! {hurry}. {sale_call}{stop}",
    "{sale} at {shop} [{city}|]. [Show this text|Quote {tail}] to {gift}{stop}",
    "{tag}{hi}{loan_offer}. {loan_honest}{stop}",
    "{tag}{points_offer}. {sale_call}{stop}",
    "{telco}: {hi}{plan_offer}. {plan_call}{stop}",
    "{job_open}. {job_honest}{stop}",
    "{courier}: [send|return] a parcel for ${small}, {hurry}. {sale_call}{stop}",
    "{shop}: a surprise in your parcel: {gift}. {sale_call}{stop}",
    "{shop}: you have a ${hundreds} [voucher|cashback|gift card], {hurry}. {sale_call}{stop}",
    "New flats in {city} from ${large}. [Viewing {date}|Call {phone}] and {gift}{stop}",
    "{shop}: no scam and no {code_word}, just {sale}. {sale_call}{stop}",
    "[English|Coding|Driving|Accounting] course starts {date}. [Fees ${money}, pay monthly|Job support]. {plan_call}{stop}",
    "{tag}{hi}[open a savings account|get our card] and {gift}, {rate}% a year, terms apply. {plan_call}{stop}",
];

const PHISHING: &[&str] = &[
    "{tag}{hi}{bank_event}. {bank_bad}{bye}",
    "{tag}{bank_event}[, balance ${money2}|]. {bank_bad}",
    "{tag}{bank_event}. {bank_bad}[ Code {code}, valid {n} min.|]",
    "[{shop}: |{telco}: |{tag}][Your |]code [is |]{code}. {code_bad}{bye}",
    "{tag}{points_offer}. {points_bad}{stop}",
    "{telco}: {hi}your [{points} points expire|balance of ${small} expires] {date}. {points_bad}{bye}",
    "{warn}{bank_event}. {bank_bad}",
    "{warn}{deny} {tag}{bank_event}. {bank_bad}",
    "{tag}{bank_event}. {bank_safe} [But first: |]{bank_bad}",
    "{telco}: your number will be cut off {date} for [missing ID|an unpaid bill]. {bank_bad}",
];

const IMPERSONATION: &[&str] = &[
    "{family}, {family_open}. {family_bad}",
    "{family}, {family_open}. {daily} {family_bad}",
    "{boss_open}. {boss_bad}",
    "{boss_open}. {daily} {boss_bad}",
    "{friend_open}. {friend_bad}",
    "{friend_open}. {daily} {friend_bad}",
    "{police_open}. {police_bad}",
    "{warn}{police_open}. {police_bad}",
    "{warn}{deny} {police_open}. {police_bad}",
    "{police_open}. {police_safe} [But: |However: ]{police_bad}",
];

const REFUND: &[&str] = &[
    "{shop}: {hi}{refund_event}. {refund_bad}{bye}",
    "{parcel_tag}{parcel_event}. {parcel_bad}{bye}",
    "{parcel_tag}{hi}{parcel_event}. {parcel_bad}",
    "{warn}{refund_event}. {refund_bad}",
    "{shop}: {hi}{refund_event}. {refund_safe} [But the transfer failed: |If not: ]{refund_bad}",
    "{parcel_tag}{parcel_event}. {refund_bad}{bye}",
    "{telco}: {hi}[we overcharged you ${small}|a refund of ${hundreds} is waiting]. {refund_bad}",
    "{warn}{deny} {parcel_tag}{parcel_event}. {parcel_bad}",
];

const JOB: &[&str] = &[
    "{job_open}. {job_bad}{stop}",
    "{job_open}. {job_bad}",
    "{tag}{hi}{loan_offer}. {loan_bad}{stop}",
    "{hi}{loan_event}. {loan_bad}{bye}",
    "{warn}{job_open}. {job_bad}",
    "{job_open}. {job_honest} [But first: |Before you start: ]{job_bad}",
    "{tag}{loan_offer}. {loan_honest} [At payout: |But: ]{loan_bad}",
    "{daily} {job_open}. {job_bad}",
];

const NAMES: &[(&str, &[&str])] = &[
    (
        "bank",
        &[
            "Quillmere Bank",
            "Tarnbrook Bank",
            "Ostervale Bank",
            "Fennmoor Bank",
            "Larkhollow Savings",
            "Brindlegate Bank",
            "Mossgrave Union",
        ],
    ),
    (
        "shop",
        &["Pebblecart", "Nimbus and Thread", "Wobblefox", "Larder Lane", "Figment Books", "Copperkettle Cafe", "Zestwell Gym", "Plumbow"],
    ),
    ("courier", &["Swiftwren", "Parcelotter", "Hopline Post", "Bluefinch Parcels"]),
    ("telco", &["Starbridge Mobile", "Fernlink", "Owlcom", "Tidewave Talk"]),
    ("clinic", &["Mossgrave Dental", "Fennmoor Clinic", "Larkhollow Eyes"]),
    ("city", &["Quillmere", "Tarnbrook", "Ostervale", "Fennmoor", "Larkhollow"]),
    (
        "place",
        &[
            "the corner shop",
            "the depot",
            "locker 12",
            "the station",
            "the school gate",
            "Mill Road hub",
            "customs store",
            "the north gate",
        ],
    ),
    ("goods", &["coats", "headphones", "trainers", "coffee", "skin care", "picture books", "a kettle", "gym passes", "fruit boxes"]),
    ("food", &["noodles", "pizza", "soup", "fish", "curry", "pancakes"]),
    ("first", &["Anna", "Ben", "Chloe", "Dan", "Ella", "Finn", "Grace", "Hugo", "Ivy", "Jack"]),
];
