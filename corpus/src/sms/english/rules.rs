//! Parts that English messages of several classes share, by name. Must not know which class uses which.

/// The rules: name, and what it can grow into.
pub(super) const RULES: &[(&str, &[&str])] = &[
    ("hi", &["", "", "Hi, ", "Dear customer, ", "Hello {first}, ", "Notice: ", "Good day, "]),
    ("tag", &["{bank}: ", "{bank}: ", "[{bank}] ", "{bank} alert: ", ""]),
    ("parcel_tag", &["{courier}: ", "{courier}: ", "{shop}: ", ""]),
    ("bye", &["", "", "", " Thank you.", " Have a nice day!", " Reply STOP to opt out.", " Ignore if done."]),
    ("stop", &["", " STOP to end", ". Text STOP to opt out", ". Opt out: reply N", "!"]),
    ("hurry", &["only {date}", "ends {date}", "last {n} hours", "first come first served", "{n} places left", "valid today"]),
    (
        "bank_event",
        &[
            "[a payment|a transfer|a purchase] of ${money} [left|was made from] your account ending {tail} {date}",
            "your [mobile banking|online access|card] [expires|must be updated|was used on a new device] {date}",
            "your {points} card points expire {date}",
            "your [account|card] was [limited|paused] after [unusual activity|an expired ID]",
            "your request for [a higher limit|a transfer of ${money}|instalments] was [received|approved]",
            "you are [logging in|changing your phone number|adding a new device]",
            "your [card|loan] bill of ${money} is [due {date}|{n} days overdue]",
        ],
    ),
    (
        "bank_safe",
        &[
            "Not you? [Call the number on your card|Visit a branch]. We never send [a link|links].",
            "Please [visit a branch|use the official app] to [verify|update your details], do not tap links in texts.",
            "Our staff will never ask for your code, do not [tell|forward it to] anyone.",
            "This is for your information, no [reply|action] needed.",
            "Questions? [Ask a branch|Call {short}], and do not [tell the code to a caller|move money to a safe account].",
            "Do not reply with your card number, PIN or code, [or your account may be emptied|whoever asks].",
            "See it in the app, no need to [tap a link|share a code].",
        ],
    ),
    (
        "bank_bad",
        &[
            "Not you? Tap {url} to [cancel|verify], or your account will be [frozen|charged].",
            "Please tap {url} to [verify|update your details], no need to visit a branch.",
            "Our staff will ask for your code, please [tell|forward it to] the caller.",
            "Please [reply with the code|tell the code to our agent], and do not tell anyone else.",
            "Reply with your card number, PIN and code, or your account may be frozen.",
            "Questions? [Call our agent {phone}|Message {chat}], do not [visit a branch|call the number on your card].",
            "Tap the link in this text {url} to [verify|keep access], no need to use the official app.",
        ],
    ),
    (
        "code_safe",
        &[
            "Use it to [log in|pay]. Do not [tell|forward it to] anyone, staff will never ask.",
            "Valid {n} min. Our staff never ask for it, do not reply or forward.",
            "Not you? Ignore this and do not tell a caller.",
            "Only to [log in|pay]. Whoever asks for it is a scammer.",
        ],
    ),
    (
        "code_bad",
        &[
            "Use it to [stop a login|stop a payment]. [Tell|Forward it to] our staff, who will ask, and do not tell anyone else.",
            "Valid {n} min. Our staff will ask for it, please reply or forward.",
            "Not you? Do not ignore this, tell the caller or send it to {phone}.",
            "Only to [cancel|stop a login]. Send it to our agent; whoever else asks is a scammer.",
        ],
    ),
    ("code_word", &["code to share", "link", "transfer", "deposit"]),
    (
        "points_offer",
        &[
            "your {points} points are worth ${hundreds}, {hurry}",
            "you have {points} points waiting, swap them for ${hundreds}",
            "congratulations, you qualify for [a higher limit|a ${hundreds} gift|a year without fees], {hurry}",
        ],
    ),
    (
        "points_bad",
        &[
            "Tap {url} and enter your [card number and code|PIN] to claim",
            "Log in at {url} to [verify|claim] with your card and code",
            "Reply with the code you get, [or send it to {chat}|and the money is yours]",
        ],
    ),
    (
        "parcel_event",
        &[
            "your parcel {track} [is at {place}|is held at {place} for a bad address|was damaged|was not collected|was delivered|is on its way]",
            "the item you [sent|bought] was [lost|damaged|returned|stopped at customs], no. {track}",
            "[an overseas|a chilled] parcel is waiting at {place}",
        ],
    ),
    (
        "parcel_safe",
        &[
            "Collect it at {place} with code {pickup}, [nothing to pay|before {clock}].",
            "[Compensation|Postage] of ${small} was returned to your card, no action needed.",
            "[{first}|Your driver {phone}] will be there by {clock}.",
            "Please [correct the address|claim] in the official app, do not [message strangers|pay through links].",
            "[Duty|Postage] is paid, please [wait|bring an ID], no need to tap a link or pay again.",
        ],
    ),
    (
        "parcel_bad",
        &[
            "Please [correct the address|claim] at {url} and pay ${small} [postage|duty].",
            "[Compensation|Postage] of ${small} could not be returned to your card, message {chat}.",
            "Message {chat} to claim double compensation, card number and code needed.",
            "[Duty|Postage] is not paid, please tap {url} to pay, or it is returned.",
            "Reply with your [ID|card number] and pay ${small}, no need to go to {place}.",
        ],
    ),
    (
        "refund_event",
        &[
            "the {goods} you bought [is faulty|is out of stock|was charged twice], refund ${money}",
            "your refund of ${money} for order {track} was [received|approved]",
            "your [membership|insurance] will [renew for ${hundreds}|end] {date}",
        ],
    ),
    (
        "refund_safe",
        &[
            "It goes back to your card in {n} hours, [no action needed|we never ask you to share your screen].",
            "To cancel use the app, [do not message strangers|no card number or code needed].",
            "See your order page, [we never ask for a code|you never have to take out a loan].",
            "Refunds are free, [no transfer needed first|whoever asks to share your screen is a scammer].",
        ],
    ),
    (
        "refund_bad",
        &[
            "It could not go back to your card, message {chat} [and share your screen|with card number and code].",
            "To cancel [message {chat}|call {phone}|tap {url}], or you are charged every month.",
            "Tap {url} and enter card number and code, it takes {n} hours.",
            "A transfer is needed first, [it comes back with the refund|we ask you to share your screen].",
            "Call {phone} in {n} hours and [make the transfer they ask for|read them the code].",
        ],
    ),
    ("family", &["Mum", "Dad", "Mom", "Sis", "Honey", "Aunt {first}", "Grandma"]),
    (
        "family_open",
        &[
            "my phone [broke|died|is lost], this is [my new number|a friend's phone]",
            "I am [at school|at the hospital with a friend|abroad] and cannot talk",
            "the school wants ${money} for [fees|the trip|the dorm]",
            "I had [a small accident|a bad day], I am fine",
        ],
    ),
    (
        "family_safe",
        &[
            "[I paid it myself|No need to send money|I still have money], will call you tonight.",
            "Call [my old number|my roommate] if you need me, no rush.",
            "Please call the teacher first, do not send money [yet|to any account].",
            "[The school takes it from my card|They said to pay on arrival], no transfer needed.",
        ],
    ),
    (
        "family_bad",
        &[
            "I need ${money} now, [I have no money left|will pay you back tonight], do not call.",
            "Do not call my old number, send money to my roommate [please|now].",
            "Please send money to the teacher's account first, call [later|tonight].",
            "[It must be paid today|They said to pay today], transfer to {chat}, no need to call.",
        ],
    ),
    (
        "boss_open",
        &[
            "{first}, this is {first2} from [the office|head office]",
            "Hi {first}, your manager {first2} here, come to my office {date}",
            "I am in a meeting and cannot talk, {first2} here",
        ],
    ),
    (
        "boss_safe",
        &[
            "[Bring the report|Meeting at {clock}], expenses go through finance.",
            "Do not pay the ${money} yet, wait until I sign, whoever asks.",
            "[The training is {date}|Moved to {clock}], [please confirm|same room].",
            "No need to buy the gift cards, the company pays.",
        ],
    ),
    (
        "boss_bad",
        &[
            "Pay the ${money} to the client now, I sign later.",
            "[I need you to buy|Please buy] {n} gift cards, the company pays you back, [send me the codes|do not tell anyone].",
            "Message my private number {chat}, an urgent payment, whoever asks.",
            "Transfer ${money} before {clock}, finance knows, [please confirm|do not wait].",
        ],
    ),
    (
        "friend_open",
        &["Hey, long time, {first} here", "It's {first} from school, are you awake", "I am in {city}, my account is locked, {first} here"],
    ),
    (
        "friend_safe",
        &[
            "I sent you the ${money} I owed, tell me when you get it",
            "Dinner {date} at {clock}, {place}, I pay",
            "Got the ${money} you sent me, thanks, [do not send more|if someone asks in my name do not pay]",
            "My account was hacked, do not send money or codes, that is not me",
        ],
    ),
    (
        "friend_bad",
        &[
            "Can you send me ${money}, I will tell you when I get it, pay you back {date}",
            "You will get a code, send it to me, [my account was hacked|thanks]",
            "Send ${money} to {chat} for me, thanks, [I owe you dinner|do not tell anyone]",
            "Can you pay {n} gift cards for me, I sent you the money, it comes {date}",
        ],
    ),
    (
        "police_open",
        &[
            "{city} police: {hi}case {case} [you reported|in your name] [is open|needs you]",
            "This is officer {first} of {city}, your [ID|bank card] was [found|used by someone|named in a case]",
            "{city} court: a [summons|notice] {case} is waiting {date}",
        ],
    ),
    (
        "police_safe",
        &[
            "Please come to the [station|desk {n}] {date} with your ID, it is free and we never settle cases by phone.",
            "We never ask you to transfer money, there is no safe account.",
            "Check with {short} or at the desk, do not install anything or pay a caller.",
            "You will get a letter, no deposit, no need to keep it secret.",
        ],
    ),
    (
        "police_bad",
        &[
            "Please [message {chat}|call {phone}] with your ID, we settle cases by phone, do not come to the station.",
            "We ask you to transfer money to a safe account, [it comes back|or it is frozen].",
            "Do not check with {short}, install {url} and pay what the caller says.",
            "Pay a deposit of ${hundreds}, no letter, you need to keep it secret or be arrested.",
        ],
    ),
    (
        "loan_event",
        &["your loan of ${large} was [approved|received], payout {date}", "your loan payment of ${money} is [due {date}|{n} days late]"],
    ),
    (
        "loan_offer",
        &["you can borrow ${large} at {rate}%, [in {n} minutes|no security]", "[short of cash|need cash]? ${large} from {bank}, {hurry}"],
    ),
    (
        "loan_safe",
        &[
            "No fee before payout, no deposit.",
            "It is taken from the card ending {tail}, do not pay into private accounts.",
            "In trouble? Call {short}, [no fee|no agent needed].",
        ],
    ),
    ("loan_honest", &["Apply in the app, no fee before payout, terms apply", "Ask {first} {phone}, borrowing costs money, no deposit"]),
    (
        "loan_bad",
        &[
            "A [fee|deposit] of ${hundreds} is due before payout, [paid into a private account|it comes back].",
            "Apply at {url} with card number and code, no credit check, [no branch|fee ${small}].",
            "Wrong card number, the loan is frozen: pay ${money} or ask agent {chat}.",
        ],
    ),
    (
        "job_open",
        &[
            "[Wanted|Hiring]: [part-time help|clerks|reviewers|packers], [${hundreds} a day|paid weekly], [work from home|flexible hours]",
            "your application at {shop} [was accepted|passed the first round|is invited {date}]",
            "{courier} {city} is hiring, [{n} places|start {date}], [${hundreds} a day|full contract]",
        ],
    ),
    (
        "job_safe",
        &[
            "Come {date} at {clock} to {place} with your ID, no fee, no deposit.",
            "Bring papers in person, do not pay anything in advance, training is paid.",
            "Ask for {first} at {place}, whoever asks for a deposit is not us.",
        ],
    ),
    (
        "job_honest",
        &["Full contract, no deposit, no fee, interviews at {place}", "Training is paid, call {phone}, nothing to pay in advance"],
    ),
    (
        "job_bad",
        &[
            "Pay a deposit of ${hundreds} for training, it comes back after the first order, message {chat}.",
            "Message {chat} for tasks, pay ${small} in advance and get {percent}% back.",
            "No interview, no contract, register at {url}, the fee of ${hundreds} goes to the manager.",
            "No fee, only top up ${hundreds} for the tasks, paid back daily, ask {chat}.",
        ],
    ),
    ("warn", &["[Fraud desk|{city} police|{bank}] warning: ", "Scams are about, ", "Safety tip: ", "Important: "]),
    (
        "deny",
        &[
            "That is a scam, do not [pay|reply].",
            "Texts that ask for [transfers|codes] are scams.",
            "Do not believe it, [call {short}|tell your family].",
        ],
    ),
    (
        "doubt",
        &[
            "Is that real? Did you get it too?",
            "I did not reply, [called {short}|asked at the branch], it is a scam.",
            "Lol, [I almost paid|I have no card there].",
            "Careful, my [mum|neighbour] lost ${money}.",
        ],
    ),
    ("quoted", &["\"{scam}\"", "'{scam}'", "{scam}"]),
    ("chat_open", &["I got a text: ", "Someone texted me ", "Look at this: ", "A caller says "]),
    (
        "scam",
        &[
            "{bank_event}. {bank_bad}",
            "{parcel_event}. {parcel_bad}",
            "{refund_event}. {refund_bad}",
            "{family_open}. {family_bad}",
            "{police_open}. {police_bad}",
            "{job_open}. {job_bad}",
            "{loan_offer}. {loan_bad}",
            "Your code is {code}. {code_bad}",
            "{boss_open}. {boss_bad}",
        ],
    ),
    (
        "sale",
        &[
            "{percent}% off {goods}",
            "[birthday|summer|opening] sale: {goods} [two for one|${hundreds} off]",
            "[members|newcomers] get {goods} from ${small}",
            "new {goods} in, save up to {percent}%",
        ],
    ),
    ("sale_call", &["Shop at {url}", "[Come in|Visit us] to {gift}", "[Reply 1|Show this text] to {gift}", "More: {url}", "See the app"]),
    ("gift", &["get a gift", "get ${hundreds} off", "win {goods}", "try it free"]),
    (
        "plan_offer",
        &["{n}GB for ${small} a month", "top up ${hundreds} and get {n}GB free, {hurry}", "[free upgrade|free data] for you, {hurry}"],
    ),
    ("plan_call", &["Reply 1 to join", "Call {short}", "See {url}", "In the official app or in store"]),
    (
        "daily",
        &[
            "Want [{food}|dinner] {date}? [You buy|I cook].",
            "I will be [home|at {place}] at {clock}, [pick me up|no need to wait].",
            "[Bus {n}|Train {seat}] is [late|here], give me {n} minutes.",
            "[The cat|Homework|The kids] sorted, [relax|your turn tomorrow].",
            "[Keys|Medicine] left [at the door|at {place}].",
            "It's [raining|cold], take [a coat|an umbrella].",
            "Can you bring [{food}|a charger]?",
        ],
    ),
];
