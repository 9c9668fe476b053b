//! Adding and opening need the memory of a few chunks, whatever the model (crypto.md C70, transport-storage.md S11). Linux only: it asks the
//! system how much a process has held at most. The measured process is one of its own, so that nothing else has run in it: this test seals the
//! updates, and runs itself again to sum them.

use super::tests::COMMITTEE;
use super::*;
use crate::testing::plan;
use crate::uploads::Upload;
use crypto::doors::{Federation, Sealed};
use crypto::seal::SealedUpdate;
use protocol::codec;
use protocol::manifest::Header;
use protocol::messages::upload_id;
use protocol::params::BLOB_BYTES;
use std::process::Command;

const MIB: u64 = 1 << 20;
const CHUNKS: u64 = 16;
/// Tells the second run where the updates are.
const WHERE: &str = "CONCORDAT_TEST_SEALED_UPDATES";

/// Two institutions and a model of sixteen chunks: 128 MiB of blocks, and as much of opened integers.
fn federation() -> Federation {
    Federation::new(2, 2, COMMITTEE, 32, &[CHUNKS * 256 * 4096])
}

/// Most bytes that this process has held so far.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

fn seal(layout: &Layout, dir: &Path, client: usize) {
    let federation = federation();
    let length = usize::try_from(federation.group().shards[0].length).unwrap();
    let sealed = federation.seal(client, &[vec![i32::try_from(client).unwrap() + 5; length]]);
    for (address, chunk) in sealed.update.chunks.iter().zip(&sealed.chunks) {
        durable::write_new(&layout.part(address), chunk).unwrap();
    }
    let addresses: Vec<u8> = sealed.update.chunks.iter().flat_map(|a| a.0).collect();
    std::fs::write(dir.join(format!("{client}.header")), codec::encode(&sealed.update.header)).unwrap();
    std::fs::write(dir.join(format!("{client}.chunks")), addresses).unwrap();
    std::fs::write(dir.join(format!("{client}.blobs")), sealed.update.blobs.concat()).unwrap();
}

/// The update without its chunks.
fn load(dir: &Path, client: usize) -> Sealed {
    let read = |what: &str| std::fs::read(dir.join(format!("{client}.{what}"))).unwrap();
    let header: Header = codec::decode(&read("header"), 1 << 20).unwrap();
    let chunks = read("chunks").as_chunks::<32>().0.iter().map(|a| Address(*a)).collect();
    let blobs = read("blobs").chunks(BLOB_BYTES).map(<[u8]>::to_vec).collect();
    let digest = Header::digest(&codec::encode(&header));
    Sealed { update: SealedUpdate { header, chunks, blobs }, chunks: Vec::new(), digest }
}

#[test]
fn a_model_of_many_chunks_is_summed_and_opened_in_the_memory_of_few() {
    if let Some(dir) = std::env::var_os(WHERE) {
        return sum_and_open(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    (0..2).for_each(|client| seal(&Layout::new(dir.path()), dir.path(), client));
    let own_name = format!("{}::a_model_of_many_chunks_is_summed_and_opened_in_the_memory_of_few", module_path!());
    let (_, name) = own_name.split_once("::").unwrap();
    let alone =
        Command::new(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]).env(WHERE, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&alone.stdout).into_owned() + &String::from_utf8_lossy(&alone.stderr);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}");
}

fn sum_and_open(dir: &Path) {
    let federation = federation();
    let sealed: Vec<Sealed> = (0..2).map(|client| load(dir, client)).collect();
    let certificate = federation.certify(&sealed);
    let openings = federation.openings(&certificate, &sealed, &[1, 2, 3, 4]);
    let (plan, group) = (plan(""), federation.group().id);
    let before = peak();

    let layout = Layout::new(dir);
    let uploads = Uploads::new(layout.clone());
    for (client, s) in sealed.iter().enumerate() {
        let header = federation.header(client, s);
        let upload = Upload::new(federation.ids[client], header.clone(), s.update.header.clone(), s.update.chunks.clone()).unwrap();
        assert!(uploads.begin(upload_id(&header), upload).unwrap().0.is_empty(), "every chunk is there");
    }
    let mut worker = Worker::new(layout, uploads);
    worker.work(Job::Begin(Box::new(federation.manifest.clone()), federation.digest));
    for s in &sealed {
        worker.work(Job::Add(group, vec![s.digest]));
    }
    assert_eq!(worker.sums[&group].holds.len(), 2);
    let job = Opening { plan, group, certificate, openings, weight: None, units: None };
    let Some(Done::Opened(opened)) = worker.work(Job::Open(Box::new(job))) else { panic!("an answer about the sum") };
    assert!(opened.result.is_ok(), "{:?}", opened.result);
    let path = dir.join("opened.json");
    worker.write_opened(&path).unwrap();

    let grown = peak() - before;
    assert!(grown < 40 * MIB, "summing grew the process by {} MiB", grown / MIB);
    // Every integer is there: 5 + 6, two digits and a comma each.
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * CHUNKS * 256 * 4096 - 1 + "{\"7\":{\"0\":[]}}".len() as u64);
}
