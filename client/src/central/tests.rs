//! A run from files to figures, killed in between; and plans and data that are none.

use super::*;
use std::num::NonZeroUsize;
use std::path::Path;
use train::device::Wanted;

const CHARACTERS: &str = include_str!("../../../configs/train-characters.toml");
const SMS: &str = include_str!("../../../configs/train-sms.toml");

fn small(plan: &str, steps: u32) -> String {
    plan.lines()
        .map(|l| match l.split(" = ").next() {
            Some("steps") => format!("steps = {steps}\n"),
            Some("warmup_steps") => "warmup_steps = 2\n".to_owned(),
            Some("every_steps") => "every_steps = 4\n".to_owned(),
            Some("width") => "width = 16\n".to_owned(),
            Some("layers") => "layers = 1\n".to_owned(),
            Some("hidden") => "hidden = 32\n".to_owned(),
            Some("max_tokens") => "max_tokens = 16\n".to_owned(),
            Some("learning_rate") => "learning_rate = \"0.01\"\n".to_owned(),
            _ => format!("{l}\n"),
        })
        .collect()
}

/// Events as (step or steps, what happened).
fn train(plan: &str, data: &Path, dir: Option<&Path>) -> (Result<Outcome, RunError>, Vec<String>) {
    let checked = CentralPlan::parse(plan).unwrap();
    let loaded = Loaded::read(&checked, data).unwrap();
    let mut seen = Vec::new();
    let threads = NonZeroUsize::new(2).unwrap();
    let outcome = run(&checked, plan, loaded, Means { device: Wanted::Cpu, threads, dir }, &mut |event| {
        seen.push(match event {
            Event::Started { .. } => return,
            Event::Resumed { step } => format!("resumed {step}"),
            Event::Step { step, .. } => format!("step {} {:?}", step.step, step.loss),
            Event::Judged { steps, judgement, best } => format!("judged {steps} {:?} {best}", judgement.loss),
        });
    });
    (outcome, seen)
}

fn text(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("text.txt");
    std::fs::write(&path, "to be or not to be, that is the question.\n".repeat(40)).unwrap();
    path
}

fn messages(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("records.jsonl");
    let labels = ["advertisement", "fraud", "illegal", "other"];
    let line = |i: usize| format!("{{\"text\": \"{} number {i} of many\", \"category\": \"{}\"}}\n", labels[i % 4], labels[i % 4]);
    std::fs::write(&path, (0..240).map(line).collect::<String>()).unwrap();
    path
}

#[test]
fn a_killed_run_goes_on_from_its_directory_to_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    let (data, plan) = (text(dir.path()), small(CHARACTERS, 12));
    let (whole, events) = train(&plan, &data, Some(&dir.path().join("whole")));
    let (state, half) = (dir.path().join("half"), dir.path().join("state.safetensors"));
    // What a kill after step 7 leaves: the state of the judgement after step 4.
    let mut kept = false;
    let checked = CentralPlan::parse(&plan).unwrap();
    let loaded = Loaded::read(&checked, &data).unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    run(&checked, &plan, loaded, Means { device: Wanted::Cpu, threads, dir: Some(&state) }, &mut |event| {
        if matches!(event, Event::Step { step, .. } if step.step == 6) && !kept {
            std::fs::copy(state.join("state.safetensors"), &half).unwrap();
            kept = true;
        }
    })
    .unwrap();
    std::fs::copy(&half, state.join("state.safetensors")).unwrap();
    let (again, resumed) = train(&plan, &data, Some(&state));
    assert_eq!(resumed[0], "resumed 4");
    assert_eq!(resumed[1..], events[events.len() - (resumed.len() - 1)..]);
    assert_eq!(again.unwrap().last, whole.unwrap().last);
    assert!(state.join("best.safetensors").exists());
    // A finished run is judged, not trained on.
    let (finished, events) = train(&plan, &data, Some(&state));
    assert_eq!((finished.unwrap().tokens, events.len()), (0, 2));
}

#[test]
fn a_directory_of_another_plan_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, state) = (text(dir.path()), dir.path().join("state"));
    train(&small(CHARACTERS, 4), &data, Some(&state)).0.unwrap();
    assert!(matches!(train(&small(CHARACTERS, 5), &data, Some(&state)).0, Err(RunError::State(_))));
}

#[test]
fn records_are_cleaned_split_and_learnt() {
    let dir = tempfile::tempdir().unwrap();
    let plan = small(SMS, 60);
    let loaded = Loaded::read(&CentralPlan::parse(&plan).unwrap(), &messages(dir.path())).unwrap();
    assert_eq!(loaded.sizes.0 + loaded.sizes.1, 240);
    // 48 expected with a deviation of 6; the seed is fixed.
    assert!((24..72).contains(&loaded.sizes.1));
    let outcome = train(&plan, &messages(dir.path()), None).0.unwrap();
    assert!(outcome.best.unwrap().evaluation.unwrap().macro_f1() > 0.9);
}

#[test]
fn a_plan_that_is_none_says_what_is_wrong() {
    for plan in [CHARACTERS, SMS] {
        CentralPlan::parse(plan).unwrap();
    }
    let with = |from: &str, to: &str| CentralPlan::parse(&CHARACTERS.replacen(from, to, 1)).unwrap_err();
    let field = |e: CentralPlanError| match e {
        CentralPlanError::OutOfRange { field, .. } => field,
        other @ (CentralPlanError::Parse(_) | CentralPlanError::Federation) => panic!("{other:?}"),
    };
    assert_eq!(field(with("steps = 2000", "steps = 0")), "local.steps");
    assert_eq!(field(with("batch = 12", "batch = 0")), "local.batch");
    assert_eq!(field(with("learning_rate = \"0.003\"", "learning_rate = \"0\"")), "local.learning_rate");
    assert_eq!(field(with("held_out_permille = 100", "held_out_permille = 0")), "data.held_out_permille");
    assert_eq!(field(with("every_steps = 250", "every_steps = 0")), "evaluation.every_steps");
    assert_eq!(field(with("width = 128", "width = 128\nvocab = 3")), "model.vocab or model.classes");
    assert!(matches!(with("layers = 4", "layer = 4"), CentralPlanError::Parse(_)));
    let federation = include_str!("../../../configs/plan-example.toml");
    assert!(matches!(CentralPlan::parse(federation), Err(CentralPlanError::Federation)));
}

#[test]
fn data_that_is_none_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let plan = CentralPlan::parse(&small(CHARACTERS, 4)).unwrap();
    let path = dir.path().join("data");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Loaded::read(&plan, &path).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(read(&[b'a', 0xff]).contains("number 1"), "{}", read(&[b'a', 0xff]));
    assert!(read(b"short").contains("both must be more than 16"));
    assert!(Loaded::read(&plan, &dir.path().join("nothing")).is_err());
    let sms = CentralPlan::parse(SMS).unwrap();
    std::fs::write(&path, "{\"text\": \"a\", \"category\": \"unknown\"}\n").unwrap();
    assert!(Loaded::read(&sms, &path).is_err());
}
