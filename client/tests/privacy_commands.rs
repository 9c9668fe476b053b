//! `concordat-client privacy` as a process: what it prints, and its exit codes (privacy.md D54). Knows nothing of the accountants inside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expected and stops")]

use serde_json::Value;
use std::process::{Command, Output};

fn run(args: &str) -> Output {
    let words = args.split_whitespace().map(|w| if w == "''" { "" } else { w });
    Command::new(env!("CARGO_BIN_EXE_concordat-client")).arg("privacy").args(words).args(["--format", "json"]).output().unwrap()
}

/// The data of an answer with exit code 0.
fn answer(args: &str) -> Value {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    let mut json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["status"], "ok", "{args}");
    json["data"].take()
}

/// The code of a refusal with exit code 2; empty where the words themselves were no numbers.
fn refusal(args: &str) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{args}: {}", String::from_utf8_lossy(&output.stdout));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    json["error"]["code"].as_str().unwrap_or("").to_owned()
}

fn near(got: &Value, want: f64, relative: f64, what: &str) {
    let got = got.as_f64().unwrap_or_else(|| panic!("{what}: {got} is no number"));
    assert!((got / want - 1.0).abs() <= relative, "{what}: {got}, want {want}");
}

/// A number is printed with at least nine significant digits, or exactly.
fn digits(number: &Value) -> usize {
    number.to_string().split('e').next().unwrap().trim_start_matches(['0', '.']).chars().filter(char::is_ascii_digit).count()
}

#[test]
fn epsilon_prints_every_accountants_figure_as_a_number() {
    let a = answer("epsilon --noise-multiplier 1 --sample-rate 0.01 --steps 1000 --delta 1e-5");
    near(&a["epsilon_pld"], 1.82824, 1e-4, "pld");
    near(&a["epsilon_rdp"], 2.10136653, 1e-6, "rdp");
    near(&a["rdp_order"], 7.8, 1e-9, "order");
    assert!(digits(&a["epsilon_pld"]) >= 9 && digits(&a["epsilon_rdp"]) >= 9);
    assert_eq!((&a["epsilon_exact"], &a["adjacency"], a["delta"].as_f64()), (&Value::Null, &"add-remove".into(), Some(1e-5)));
    assert_eq!(a["phases"], serde_json::json!([{ "noise_multiplier": 1.0, "sample_rate": 0.01, "steps": 1000 }]));
    assert!(a["accountant"].is_string());
    let exact = answer("epsilon --noise-multiplier 1 --sample-rate 1 --steps 1 --delta 1e-5");
    near(&exact["epsilon_exact"], 4.377178096, 1e-9, "closed form");
}

#[test]
fn replaced_units_are_a_second_figure() {
    let figures = "--sample-rate 0.01 --steps 1000 --delta 1e-5 --adjacency replace-one";
    let a = answer(&format!("epsilon --noise-multiplier 1 {figures}"));
    near(&a["epsilon_pld"], 2.84344581, 1e-3, "replace-one");
    assert_eq!((&a["epsilon_rdp"], &a["rdp_order"], &a["adjacency"]), (&Value::Null, &Value::Null, &"replace-one".into()));
    let unsampled = answer("epsilon --noise-multiplier 1 --sample-rate 1 --steps 1 --delta 1e-5 --adjacency replace-one");
    near(&unsampled["epsilon_exact"], 9.99725615, 1e-3, "replace-one without sampling");
    assert!(unsampled["epsilon_rdp"].is_f64());
    let c = answer(&format!("calibrate --target-epsilon 2.84344581 {figures}"));
    near(&c["noise_multiplier_pld"], 1.0, 1e-3, "calibrated");
    assert_eq!(c["noise_multiplier_rdp"], Value::Null);
}

#[test]
fn phases_replace_the_three_numbers() {
    let a = answer("epsilon --phase 1.2,0.01,500 --phase 0.9,0.02,200 --delta 1e-5");
    near(&a["epsilon_pld"], 2.54505, 1e-3, "two phases");
    assert_eq!(a["phases"].as_array().unwrap().len(), 2);
    for args in [
        "epsilon --phase 1,0.1,10 --steps 3 --delta 1e-5",
        "epsilon --phase 1,0.1 --delta 1e-5",
        "epsilon --phase 1,0.1,10,2 --delta 1e-5",
        "epsilon --phase 1,0.1,-3 --delta 1e-5",
        "epsilon --phase x,0.1,3 --delta 1e-5",
        "epsilon --noise-multiplier 1 --steps 3 --delta 1e-5",
        "epsilon --delta 1e-5",
    ] {
        refusal(args);
    }
    assert_eq!(refusal("epsilon --phase 1,0.1,10 --phase 1,2,10 --delta 1e-5"), "bad_sample_rate");
}

#[test]
fn no_steps_cost_nothing_no_noise_costs_everything_and_tiny_deltas_have_no_pld() {
    let none = answer("epsilon --noise-multiplier 1 --sample-rate 1 --steps 0 --delta 1e-5");
    assert_eq!([&none["epsilon_pld"], &none["epsilon_rdp"], &none["epsilon_exact"]].map(Value::as_f64), [Some(0.0); 3]);
    assert_eq!(none["rdp_order"], Value::Null);
    let all = answer("epsilon --noise-multiplier 0 --sample-rate 1 --steps 1 --delta 1e-5");
    assert_eq!([&all["epsilon_pld"], &all["epsilon_rdp"], &all["epsilon_exact"]].map(Value::as_str), [Some("inf"); 3]);
    let tiny = answer("epsilon --noise-multiplier 2 --sample-rate 0.1 --steps 10 --delta 1e-14");
    assert_eq!(tiny["epsilon_pld"], Value::Null);
    assert!(tiny["epsilon_rdp"].as_f64().unwrap() > 0.0);
    let free = answer("calibrate --target-epsilon 1 --sample-rate 0.1 --steps 0 --delta 1e-5");
    assert_eq!(free["noise_multiplier_pld"].as_f64(), Some(0.0));
}

#[test]
fn calibration_prints_every_accountants_noise() {
    let a = answer("calibrate --target-epsilon 3 --sample-rate 0.01 --steps 1000 --delta 1e-5");
    near(&a["noise_multiplier_pld"], 0.813585498, 1e-3, "pld");
    near(&a["noise_multiplier_rdp"], 0.864606987, 1e-3, "rdp");
    assert_eq!(a["noise_multiplier_exact"], Value::Null);
    let exact = answer("calibrate --target-epsilon 1 --sample-rate 1 --steps 1 --delta 1e-5");
    near(&exact["noise_multiplier_exact"], 3.73063163, 1e-6, "closed form");
    near(&exact["noise_multiplier_pld"], 3.73063163, 1e-5, "pld");
}

#[test]
fn nonsense_is_refused_by_name() {
    let epsilon =
        |s: &str, q: &str, t: &str, d: &str| refusal(&format!("epsilon --noise-multiplier {s} --sample-rate {q} --steps {t} --delta {d}"));
    for s in ["-1", "NaN", "inf", "-inf"] {
        assert_eq!(epsilon(s, "0.1", "10", "1e-5"), "bad_noise_multiplier", "{s}");
    }
    for q in ["0", "1.0000001", "-0.1", "NaN", "inf"] {
        assert_eq!(epsilon("1", q, "10", "1e-5"), "bad_sample_rate", "{q}");
    }
    for d in ["0", "1", "2", "-1e-5", "NaN", "inf"] {
        assert_eq!(epsilon("1", "0.1", "10", d), "bad_delta", "{d}");
    }
    assert_eq!(epsilon("1", "0.1", "1000000001", "1e-5"), "bad_steps");
    for e in ["0", "-3", "NaN", "inf"] {
        let calibrate = format!("calibrate --target-epsilon {e} --sample-rate 0.1 --steps 10 --delta 1e-5");
        assert_eq!(refusal(&calibrate), "bad_target_epsilon", "{e}");
    }
    for args in [
        "epsilon --noise-multiplier '' --sample-rate 0.1 --steps 10 --delta 1e-5",
        "epsilon --noise-multiplier 1 --sample-rate '' --steps 10 --delta 1e-5",
        "epsilon --noise-multiplier 1 --sample-rate 0.1 --steps -1 --delta 1e-5",
        "epsilon --noise-multiplier 1 --sample-rate 0.1 --steps 1.5 --delta 1e-5",
        "epsilon --noise-multiplier 1 --sample-rate 0.1 --steps 10 --delta ''",
        "epsilon --noise-multiplier 1 --sample-rate 0.1 --steps 10 --delta 1e-5 --adjacency neighbour",
        "calibrate --sample-rate 0.1 --steps 10 --delta 1e-5",
        "calibrate --target-epsilon '' --sample-rate 0.1 --steps 10 --delta 1e-5",
    ] {
        assert_eq!(refusal(args), "", "{args}: no number at all");
    }
}
