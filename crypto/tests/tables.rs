//! The published tables: packing (C26), quorum (C47), set digest (C36). Knows only `protocol`.

use protocol::ids::{GroupId, HeaderDigest, ManifestDigest};
use protocol::manifest::set_digest;
use protocol::params::{CommitteeSize, Packing};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("testdata/vectors/crypto-vectors.json")).expect("vectors are JSON")
}

#[test]
fn every_row_of_the_packing_table_follows_from_the_rule() {
    let v = vectors();
    let rows = v["packing"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 15);
    for row in rows {
        let n = |name: &str| row[name].as_u64().unwrap();
        let p = Packing::derive(u16::try_from(n("n_max")).unwrap(), u8::try_from(n("b")).unwrap()).unwrap();
        let got = [p.slot_bits, p.slots, p.noise_bits, p.dropped_bits, p.body_bits].map(u64::from);
        assert_eq!(got, [n("w"), n("l"), n("f"), n("r"), n("k")], "{row}");
        assert!((p.bits_per_parameter() - row["bits_per_parameter"].as_f64().unwrap()).abs() < 0.005, "{row}");
        // C80: at most a quarter more than any exact sum needs.
        assert!(p.bits_per_parameter() <= 1.25 * f64::from(p.slot_bits), "{row}");
    }
    assert!(Packing::derive(100, 16).unwrap().bits_per_parameter() < 32.0);
}

/// Over all of C16: a packing exists and its slots never carry (C28).
#[test]
fn slots_never_carry() {
    for n_max in 2..=1000u16 {
        for bits in 4..=32u8 {
            let p = Packing::derive(n_max, bits).unwrap();
            assert!(u128::from(n_max) * ((1 << bits) - 1) < 1 << p.slot_bits);
            assert_eq!(u16::from(p.slots) * u16::from(p.slot_bits) + u16::from(p.noise_bits), 64);
        }
    }
    assert!(Packing::derive(1, 8).is_err() && Packing::derive(1001, 8).is_err());
    assert!(Packing::derive(2, 3).is_err() && Packing::derive(2, 33).is_err());
}

#[test]
fn every_row_of_the_quorum_table_follows_from_the_rule() {
    let v = vectors();
    for row in v["quorum"]["rows"].as_array().unwrap() {
        let n = |name: &str| usize::try_from(row[name].as_u64().unwrap()).unwrap();
        let size = CommitteeSize { decryptors: u8::try_from(n("c")).unwrap(), corrupt: u8::try_from(n("d")).unwrap() };
        assert_eq!(size.check(), Ok(()));
        assert_eq!(
            (size.quorum(), 2 * size.quorum() - n("c"), n("c") - size.quorum()),
            (n("Q"), n("overlap"), n("may_be_absent")),
            "{row}"
        );
        assert_eq!((n("c") - size.threshold()) / 2, n("errors_corrected_if_all_answer"), "{row}");
    }
}

/// C47 for every committee that can exist.
#[test]
fn two_quorums_share_an_honest_decryptor() {
    for decryptors in 2..=16u8 {
        for corrupt in 1..decryptors {
            let size = CommitteeSize { decryptors, corrupt };
            let (c, q) = (usize::from(decryptors), size.quorum());
            assert!(q <= c && 2 * q - c >= size.threshold() && 2 * (q - 1) < c + size.threshold(), "{size:?}");
        }
    }
}

#[test]
fn set_digest_is_that_of_the_vector() {
    let v = &vectors()["derived"]["set_digest"];
    let manifest = ManifestDigest(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    let headers: Vec<HeaderDigest> =
        v["header_digests_hex"].as_array().unwrap().iter().map(|h| h.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(set_digest(manifest, GroupId(7), &headers).to_hex(), v["set_digest_hex"].as_str().unwrap());
}
