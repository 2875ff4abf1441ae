//! What fuzzers feed a process with: bytes that reach it from outside, most of them before anybody
//! has proved anything. Each must return, whatever the bytes are, and take no more memory than they
//! are worth. Those of the journal and of moves are in `lampyrid-migration`.

#[cfg(feature = "cli")]
pub use crate::admin::fuzz::admin;
pub use crate::links::fuzz::{hello, stranger};
pub use crate::requests::fuzz::request;
pub use crate::tls::fuzz::pem;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tls::authority::Authority;

    type Feed = fn(&[u8]);

    const TARGETS: &[(&str, Feed)] = &[
        ("stranger", stranger),
        ("hello", hello),
        ("request", request),
        ("pem", pem),
        #[cfg(feature = "cli")]
        ("admin", admin),
    ];

    /// No mutation makes more of a seed.
    const MAX_BYTES: usize = 8 * 1024;

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
    }

    fn seeds_of(target: &str) -> Vec<Vec<u8>> {
        let files = fs::read_dir(corpus(target)).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        let mut seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        if target == "pem" {
            // Keys are made here: one that lies about in a repository alarms people.
            let authority = Authority::new();
            let files = authority.files("a.example");
            seeds.extend([files.cert, files.key, files.ca].map(|path| fs::read(path).unwrap()));
        }
        seeds
    }

    #[test]
    fn what_fuzzers_found_is_survived() {
        for (target, feed) in TARGETS {
            let seeds = seeds_of(target);
            assert!(seeds.len() > 2, "{target}: only {} files", seeds.len());
            seeds.iter().for_each(|seed| feed(seed));
        }
        (0..=u8::MAX).for_each(|first| stranger(&[first]));
        stranger(&[]);
    }

    /// A fuzzer's dull cousin, for the toolchain at hand: seeds with some bytes changed, cut or
    /// repeated.
    #[test]
    fn what_is_near_a_seed_is_survived() {
        let mut random = StdRng::seed_from_u64(1);
        for (target, feed) in TARGETS {
            for seed in seeds_of(target) {
                for _ in 0..2_000 {
                    let mut bytes = seed.clone();
                    for _ in 0..random.random_range(1..5) {
                        let at = random.random_range(0..bytes.len());
                        match random.random_range(0..4) {
                            0 => bytes.truncate(at + 1),
                            1 => bytes.extend_from_within(at..),
                            2 => bytes[at] = random.random(),
                            _ => bytes[at] ^= 1 << random.random_range(0..8),
                        }
                        bytes.truncate(MAX_BYTES);
                    }
                    feed(&bytes);
                }
            }
        }
    }

    #[test]
    #[ignore = "writes the seeds that fuzzers begin with"]
    fn writes_seeds() {
        let put = |target: &str, name: &str, bytes: &[u8]| {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(corpus(target).join(name), bytes).unwrap();
        };
        for (target, name, bytes) in
            [crate::links::fuzz::seeds(), crate::requests::fuzz::seeds()].concat()
        {
            put(target, name, &bytes);
        }
        let certificate = fs::read(Authority::new().files("a.example").cert).unwrap();
        put("pem", "certificate", &certificate);
        put("pem", "certificate_der", &CertificateDer::from_pem_slice(&certificate).unwrap());
        let id = "f1e00000-0000-4000-8000-000000000001";
        let bodies = [
            ("create", format!(r#"{{"bubble":"{id}","count":3,"state":{{"lit":true}}}}"#)),
            ("put", r#"{"state":[1,2.5e3,"x\u00e9",null]}"#.to_owned()),
            (
                "migrate",
                format!(
                    r#"{{"entities":["{id}",{{"id":"{id}","expected_epoch":2}}],"to":"{id}","wait_ms":5}}"#
                ),
            ),
            ("move", format!(r#"{{"to_process":"{id}"}}"#)),
            ("last_event_id", (1_u64 << 40).to_string()),
        ];
        for (name, body) in bodies {
            put("admin", name, body.as_bytes());
        }
    }
}
