//! Where models came from, as a W3C PROV-JSON document (A42): entities snapshot, sum, dataset declaration, header; activities round, training,
//! sum, opening; agents institution and software. Knows no file.

use crate::select::Selected;
use protocol::history::{GroupHistory, History, RoundHistory, RoundState, TaskHistory};
use protocol::ids::{ClientId, HeaderDigest, Position, RoundId, Sha256, SnapshotDigest, TaskId};
use protocol::manifest::Header;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// One document: things by kind and name.
#[derive(Debug, Default)]
pub(super) struct Document {
    parts: BTreeMap<&'static str, Map<String, Value>>,
    relations: u64,
}

impl Document {
    fn thing(&mut self, kind: &'static str, id: &str, mut value: Value) {
        // A type is a qualified name; a bare text would be one more word about the thing.
        if let Some(of) = value.get_mut("prov:type") {
            *of = json!({"$": of.take(), "type": "prov:QUALIFIED_NAME"});
        }
        self.parts.entry(kind).or_default().entry(id.to_owned()).or_insert(value);
    }

    fn relation(&mut self, kind: &'static str, value: Value) {
        self.relations += 1;
        let id = format!("_:r{}", self.relations);
        self.parts.entry(kind).or_default().insert(id, value);
    }

    fn used(&mut self, activity: &str, entity: &str) {
        self.relation("used", json!({"prov:activity": activity, "prov:entity": entity}));
    }
    fn made(&mut self, entity: &str, activity: &str) {
        self.relation("wasGeneratedBy", json!({"prov:entity": entity, "prov:activity": activity}));
    }
    fn by(&mut self, activity: &str, agent: &str) {
        self.relation("wasAssociatedWith", json!({"prov:activity": activity, "prov:agent": agent}));
    }
    fn from(&mut self, new: &str, old: &str) {
        self.relation("wasDerivedFrom", json!({"prov:generatedEntity": new, "prov:usedEntity": old}));
    }

    /// Writes the document; returns how many things and relations it has.
    pub(super) fn write(self, verified: bool, out: &mut impl Write) -> std::io::Result<u64> {
        let rows = self.parts.values().map(|p| p.len() as u64).sum();
        let mut document = Map::new();
        document.insert("prefix".to_owned(), json!({"concordat": "urn:concordat:"}));
        let mut parts = self.parts;
        if !verified {
            // PROV has no field for doubt on a document; every thing says it of itself.
            let marked = parts.values_mut().flat_map(|p| p.values_mut()).filter_map(Value::as_object_mut);
            marked.for_each(|m| drop(m.insert("concordat:verified".to_owned(), Value::Bool(false))));
        }
        document.extend(parts.into_iter().map(|(kind, part)| (kind.to_owned(), Value::Object(part))));
        serde_json::to_writer(&mut *out, &Value::Object(document)).map_err(std::io::Error::from)?;
        writeln!(out)?;
        out.flush()?;
        Ok(rows)
    }
}

fn snapshot(digest: SnapshotDigest) -> String {
    format!("concordat:snapshot-{digest}")
}
fn institution(who: ClientId) -> String {
    format!("concordat:institution-{who}")
}
fn dataset(id: Sha256) -> String {
    format!("concordat:dataset-{id}")
}
fn header(digest: HeaderDigest) -> String {
    format!("concordat:header-{digest}")
}

/// What the selected part of the history says.
pub(super) fn document(history: &History, selected: &Selected) -> Document {
    let mut out = Document::default();
    let server = format!("concordat:server-{}", history.trust().federation);
    out.thing("agent", &server, json!({"prov:type": "prov:SoftwareAgent", "prov:label": "concordat-server"}));
    for (id, member) in history.members().iter().filter(|(id, _)| selected.has_institution(**id)) {
        let value = json!({"prov:type": "prov:Organization", "prov:label": member.name, "concordat:entry": member.joined.0,
            "concordat:standing": member.standing.name(), "concordat:standingEntry": member.since.0});
        out.thing("agent", &institution(*id), value);
    }
    for ((who, id), declared) in history.datasets().iter().filter(|((who, _), _)| selected.has_institution(*who)) {
        let cap = declared.cap.map(|c| c.epsilon_cap.to_string());
        let mut value = json!({"prov:type": "concordat:DatasetDeclaration", "concordat:declaredUnits": declared.declaration.declared_units,
            "concordat:epsilonCap": cap.unwrap_or_else(|| "none".to_owned())});
        // Then the cap above is of what shares of noise leave to a coalition, and this one of own noise in any one task.
        if let Some(own) = declared.cap.and_then(|c| c.own_epsilon_cap) {
            value["concordat:ownEpsilonCap"] = own.to_string().into();
        }
        if let Some(withdrawn) = declared.withdrawn {
            value["concordat:withdrawn"] = withdrawn.reason.name().into();
            value["concordat:withdrawnEntry"] = withdrawn.index.0.into();
        }
        out.thing("entity", &dataset(*id), value);
        out.relation("wasAttributedTo", json!({"prov:entity": dataset(*id), "prov:agent": institution(*who)}));
    }
    for (id, task) in history.tasks() {
        let of_task = Task { id: *id, task, server: &server, selected };
        of_task.write(&mut out);
    }
    out
}

struct Task<'a> {
    id: TaskId,
    task: &'a TaskHistory,
    server: &'a str,
    selected: &'a Selected,
}

impl Task<'_> {
    fn write(&self, out: &mut Document) {
        if let Some(plan) = self.task.plan() {
            out.thing("entity", &snapshot(plan.base), json!({"prov:type": "concordat:Snapshot", "prov:label": "base"}));
            if let Some(published) = &plan.model.base {
                let name = format!("concordat:checkpoint-{}", published.weights);
                let files = json!({"prov:type": "concordat:PublishedCheckpoint", "concordat:config": published.config_digest().to_hex(),
                    "concordat:weights": published.weights.to_hex(), "concordat:tokenizer": published.tokenizer.to_hex()});
                out.thing("entity", &name, files);
                out.from(&snapshot(plan.base), &name);
            }
        }
        for (id, round) in self.task.rounds().iter().filter(|(id, _)| self.selected.has_round(id.0)) {
            self.round(*id, round, out);
        }
    }

    fn round(&self, id: RoundId, round: &RoundHistory, out: &mut Document) {
        let name = format!("concordat:round-{}-{id}", self.id);
        out.thing("activity", &name, json!({"prov:type": "concordat:Round", "prov:label": format!("round {id}")}));
        out.by(&name, self.server);
        let start = round.manifest.as_ref().map(|(m, _)| m.snapshot);
        if let Some(start) = start {
            out.thing("entity", &snapshot(start), json!({"prov:type": "concordat:Snapshot"}));
            out.used(&name, &snapshot(start));
        }
        for (group, g) in &round.groups {
            let place = format!("{}-{id}-{group}", self.id);
            for (digest, (who, index, said)) in g.accepted.iter().filter(|(_, (who, ..))| self.selected.has_institution(*who)) {
                self.training(*digest, (*who, index.0, said), start, out);
            }
            self.sum(&place, g, round, out);
            if g.result.is_some() {
                out.used(&name, &format!("concordat:sum-{place}"));
            }
        }
        if let RoundState::Closed(end) = round.state {
            out.thing("entity", &snapshot(end), json!({"prov:type": "concordat:Snapshot", "prov:label": format!("after round {id}")}));
            out.made(&snapshot(end), &name);
            start.iter().for_each(|s| out.from(&snapshot(end), &snapshot(*s)));
        }
    }

    fn training(
        &self,
        digest: HeaderDigest,
        (who, index, said): (ClientId, u64, &Header),
        start: Option<SnapshotDigest>,
        out: &mut Document,
    ) {
        let (activity, spend) = (format!("concordat:training-{digest}"), &said.core.spend);
        let figures = json!({"prov:type": "concordat:Training", "concordat:steps": spend.steps,
            "concordat:noiseMultiplier": spend.noise_multiplier.to_string(), "concordat:epsilonAfter": spend.epsilon_after.to_string(),
            "concordat:delta": spend.delta.to_string()});
        out.thing("activity", &activity, figures);
        out.thing("entity", &header(digest), json!({"prov:type": "concordat:UpdateHeader", "concordat:entry": index}));
        out.by(&activity, &institution(who));
        start.iter().for_each(|s| out.used(&activity, &snapshot(*s)));
        out.used(&activity, &dataset(spend.dataset));
        out.made(&header(digest), &activity);
        out.relation("wasAttributedTo", json!({"prov:entity": header(digest), "prov:agent": institution(who)}));
    }

    fn sum(&self, place: &str, g: &GroupHistory, round: &RoundHistory, out: &mut Document) {
        let (Some(certificate), Some(result)) = (&g.certificate, &g.result) else { return };
        let (summing, sum) = (format!("concordat:summing-{place}"), format!("concordat:sum-{place}"));
        out.thing("activity", &summing, json!({"prov:type": "concordat:Summing"}));
        out.by(&summing, self.server);
        let value = json!({"prov:type": "concordat:Sum", "concordat:values": result.values.to_hex(),
            "concordat:certificate": certificate.digest().to_hex(), "concordat:members": certificate.members()});
        out.thing("entity", &sum, value);
        out.made(&sum, &summing);
        let wanted = |h: &&HeaderDigest| g.accepted.get(*h).is_some_and(|(who, ..)| self.selected.has_institution(*who));
        for digest in certificate.headers().iter().filter(wanted) {
            out.used(&summing, &header(*digest));
        }
        for position in g.openings.keys() {
            self.opening(place, *position, round, &summing, out);
        }
    }

    fn opening(&self, place: &str, position: Position, round: &RoundHistory, summing: &str, out: &mut Document) {
        let decryptor = round.manifest.as_ref().and_then(|(m, _)| m.decryptor(position));
        let Some(who) = decryptor.map(|d| d.institution).filter(|w| self.selected.has_institution(*w)) else { return };
        let opening = format!("concordat:opening-{place}-{position}");
        out.thing("activity", &opening, json!({"prov:type": "concordat:Opening"}));
        out.by(&opening, &institution(who));
        out.relation("wasInformedBy", json!({"prov:informed": summing, "prov:informant": opening}));
    }
}
