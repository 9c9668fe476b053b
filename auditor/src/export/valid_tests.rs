//! Exports against the lists of their standards: OCSF 1.8 (classes 3001, 3003, 6003 and the objects in them) and the W3C's PROV-JSON. What is in no
//! list, what lacks and what is of another kind is named.

use super::{Doubt, Form, export};
use crate::Options;
use crate::select::Selection;
use crate::tests::fixture::write;
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Stories that have every type of entry which any has.
const STORIES: [Twist; 4] = [Twist::Everything, Twist::SumFails, Twist::GateOverridden, Twist::LedgerRepaired];

fn exported(twist: Twist, form: Form) -> String {
    let mut out = Vec::new();
    export(write(&tell(twist).files()).path(), &Options::default(), form, &Selection::default(), Doubt::Refuse, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// An object of OCSF: what it may have, what it must have, and of what it must have one at least.
struct Shape {
    may: &'static [&'static str],
    must: &'static [&'static str],
    one_of: &'static [&'static str],
}

const BASE: &[&str] = &[
    "activity_id",
    "activity_name",
    "category_name",
    "category_uid",
    "class_name",
    "class_uid",
    "count",
    "duration",
    "end_time",
    "enrichments",
    "message",
    "metadata",
    "observables",
    "raw_data",
    "severity",
    "severity_id",
    "start_time",
    "status",
    "status_code",
    "status_detail",
    "status_id",
    "time",
    "timezone_offset",
    "type_name",
    "type_uid",
    "unmapped",
];
const BASE_MUST: [&str; 7] = ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
const SEVERITIES: [(u64, &str); 8] =
    [(0, "Unknown"), (1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High"), (5, "Critical"), (6, "Fatal"), (99, "Other")];
const STATUSES: [(u64, &str); 4] = [(0, "Unknown"), (1, "Success"), (2, "Failure"), (99, "Other")];

/// Names of activities by number, and the shape, of a class.
fn class(uid: u64) -> (&'static str, &'static [(u64, &'static str)], Shape) {
    match uid {
        3001 => (
            "Account Change",
            &[(1, "Create"), (2, "Enable"), (3, "Password Change"), (5, "Disable"), (6, "Delete"), (99, "Other")],
            Shape { may: &["actor", "http_request", "policy", "src_endpoint", "user", "user_result"], must: &["user"], one_of: &["user"] },
        ),
        3003 => (
            "Authorize Session",
            &[(1, "Assign Privileges"), (2, "Assign Groups"), (3, "Assign Roles"), (99, "Other")],
            Shape {
                may: &["actor", "dst_endpoint", "groups", "iam_roles", "privileges", "session", "src_endpoint", "user"],
                must: &["user"],
                one_of: &["privileges", "groups", "iam_roles"],
            },
        ),
        6003 => (
            "API Activity",
            &[(1, "Create"), (2, "Read"), (3, "Update"), (4, "Delete"), (99, "Other")],
            Shape {
                may: &["actor", "api", "dst_endpoint", "http_request", "http_response", "resources", "src_endpoint"],
                must: &["actor", "api", "src_endpoint"],
                one_of: &["api"],
            },
        ),
        other => panic!("class {other} is not among those of the mapping"),
    }
}

/// The shape of the object that an attribute holds; none for what is no object.
fn shape(attribute: &str) -> Option<Shape> {
    let any = |may| Some(Shape { may, must: &[], one_of: may });
    match attribute {
        "metadata" => Some(Shape {
            may: &[
                "correlation_uid",
                "event_code",
                "labels",
                "log_level",
                "log_name",
                "log_provider",
                "log_version",
                "logged_time",
                "original_time",
                "processed_time",
                "product",
                "profiles",
                "sequence",
                "tenant_uid",
                "uid",
                "version",
            ],
            must: &["product", "version"],
            one_of: &["version"],
        }),
        "product" => Some(Shape {
            may: &["cpe_name", "feature", "lang", "name", "path", "uid", "url_string", "vendor_name", "version"],
            must: &["vendor_name"],
            one_of: &["name", "uid"],
        }),
        "feature" => any(&["name", "uid", "version"]),
        "service" => any(&["name", "uid", "version", "labels"]),
        "policy" => any(&["desc", "group", "is_applied", "name", "uid", "version"]),
        "authorizations" => any(&["decision", "policy"]),
        "src_endpoint" => any(&["name", "uid", "hostname", "ip", "svc_name"]),
        "actor" => any(&["app_name", "app_uid", "authorizations", "idp", "process", "session", "user"]),
        "api" => Some(Shape {
            may: &["group", "operation", "request", "response", "service", "version"],
            must: &["operation"],
            one_of: &["operation"],
        }),
        "user" => Some(Shape {
            may: &["account", "credential_uid", "domain", "groups", "name", "org", "type", "type_id", "uid", "uid_alt"],
            must: &[],
            one_of: &["account", "name", "uid"],
        }),
        _ => None,
    }
}

fn has_shape(what: &str, object: &Map<String, Value>, shape: &Shape, base: &[&str]) {
    for name in object.keys() {
        assert!(shape.may.contains(&name.as_str()) || base.contains(&name.as_str()), "{what} has no {name}");
    }
    assert!(shape.must.iter().all(|name| object.contains_key(*name)), "{what} lacks one of {:?}", shape.must);
    assert!(shape.one_of.iter().any(|name| object.contains_key(*name)), "{what} has none of {:?}", shape.one_of);
    for (name, value) in object.iter().filter(|(name, _)| *name != "unmapped") {
        let empty = value.is_null() || value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
        assert!(!empty, "{what}.{name} says nothing");
        for inner in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            match (inner.as_object(), self::shape(name)) {
                (Some(object), Some(shape)) => has_shape(name, object, &shape, &[]),
                (None, None) => {}
                (is, _) => panic!("{what}.{name} is an object: {}, and should be the other", is.is_some()),
            }
        }
    }
}

fn is_named(event: &Value, (number, name): (&str, &str), names: &[(u64, &str)]) {
    let of = (event[number].as_u64().unwrap(), event[name].as_str().unwrap());
    assert!(names.contains(&of), "{number}: {of:?}");
}

#[test]
fn every_event_has_the_attributes_of_its_class_and_no_others() {
    let mut classes = BTreeSet::new();
    for twist in STORIES {
        for line in exported(twist, Form::Ocsf).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let uid = event["class_uid"].as_u64().unwrap();
            let (name, activities, shape) = class(uid);
            has_shape(name, event.as_object().unwrap(), &shape, BASE);
            assert!(BASE_MUST.iter().all(|name| !event[name].is_null()) && event["class_name"] == name, "{event}");
            is_named(&event, ("activity_id", "activity_name"), activities);
            is_named(&event, ("severity_id", "severity"), &SEVERITIES);
            is_named(&event, ("status_id", "status"), &STATUSES);
            is_named(&event, ("category_uid", "category_name"), &[(3, "Identity & Access Management"), (6, "Application Activity")]);
            assert_eq!(event["type_name"], format!("{name}: {}", event["activity_name"].as_str().unwrap()));
            // The class has its actor from a profile, and says so.
            assert_eq!(event["metadata"]["profiles"] == serde_json::json!(["host"]), uid == 3003, "{event}");
            classes.insert(uid);
        }
    }
    assert_eq!(classes.into_iter().collect::<Vec<_>>(), [3001, 3003, 6003]);
}

/// Relations of PROV-JSON: what they must have and what else they may have of the standard's.
const RELATIONS: [(&str, &[&str], &[&str]); 6] = [
    ("used", &["prov:activity", "prov:entity"], &["prov:time"]),
    ("wasGeneratedBy", &["prov:entity", "prov:activity"], &["prov:time"]),
    ("wasAssociatedWith", &["prov:activity", "prov:agent"], &["prov:plan"]),
    ("wasAttributedTo", &["prov:entity", "prov:agent"], &[]),
    ("wasDerivedFrom", &["prov:generatedEntity", "prov:usedEntity"], &["prov:activity", "prov:generation", "prov:usage"]),
    ("wasInformedBy", &["prov:informed", "prov:informant"], &[]),
];

/// Kinds of things that the ends of relations are.
fn kind_of_end(role: &str) -> &'static str {
    match role {
        "prov:activity" | "prov:informed" | "prov:informant" => "activity",
        "prov:agent" => "agent",
        _ => "entity",
    }
}

fn is_qualified(name: &str, prefixes: &Map<String, Value>) -> bool {
    let Some((prefix, local)) = name.split_once(':') else { return false };
    (prefix == "prov" || prefixes.contains_key(prefix)) && !local.is_empty() && !local.contains([' ', '"', '<', '>'])
}

/// A value of an attribute: plain, or typed by a qualified name that is one.
fn is_value(value: &Value, prefixes: &Map<String, Value>) -> bool {
    match value.as_object() {
        None => value.is_string() || value.is_number() || value.is_boolean(),
        Some(typed) => {
            let is_name = typed["type"] == "prov:QUALIFIED_NAME" && typed["$"].as_str().is_some_and(|n| is_qualified(n, prefixes));
            is_name && typed.len() == 2
        }
    }
}

#[test]
fn a_provenance_document_has_the_form_of_prov_json() {
    for twist in STORIES {
        let document: Value = serde_json::from_str(&exported(twist, Form::ProvJson)).unwrap();
        let prefixes = document["prefix"].as_object().unwrap();
        for (kind, part) in document.as_object().unwrap().iter().filter(|(kind, _)| *kind != "prefix") {
            let relation = RELATIONS.iter().find(|(name, ..)| name == kind);
            assert!(relation.is_some() || ["entity", "activity", "agent"].contains(&kind.as_str()), "{kind} is no part of a document");
            for (id, thing) in part.as_object().unwrap() {
                assert!(is_qualified(id, prefixes) || relation.is_some() && id.starts_with("_:"), "{kind} {id}");
                let thing = thing.as_object().unwrap();
                assert!(thing.iter().all(|(name, v)| is_qualified(name, prefixes) && is_value(v, prefixes)), "{id}: {thing:?}");
                match relation {
                    None => assert!(thing["prov:type"].is_object(), "{id} is of a type"),
                    Some((_, must, may)) => {
                        let known = |name: &String| must.contains(&name.as_str()) || may.contains(&name.as_str());
                        assert!(thing.keys().all(known), "{kind}: {thing:?}");
                        for role in *must {
                            let end = thing[*role].as_str().unwrap();
                            assert!(document[kind_of_end(role)].get(end).is_some(), "{kind}: {role} {end} is no {}", kind_of_end(role));
                        }
                    }
                }
            }
        }
    }
}
