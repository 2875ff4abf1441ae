use redb::StorageBackend;

use super::{Call, CrashDisk, Fault, FaultError, Survival};

fn filled(disk: &CrashDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.file_len() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_crash_takes_what_was_not_synced_and_nothing_else() {
    let disk = CrashDisk::new(1);
    disk.set_len(8192).unwrap();
    disk.write(0, &[1; 8192]).unwrap();
    disk.sync_data().unwrap();
    disk.write(0, &[2; 8192]).unwrap();
    assert_eq!(filled(&disk.look(Survival::None)), [1; 8192]);
    assert_eq!(filled(&disk.look(Survival::All)), [2; 8192]);
    let torn = |seed| {
        let bytes = filled(&disk.look(Survival::Random(seed)));
        assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
        bytes.contains(&1) && bytes.contains(&2)
    };
    assert!((0..20).filter(|&seed| torn(seed)).count() > 3);
    let after = disk.crash(Survival::None);
    assert!(disk.write(0, &[3]).is_err() && disk.sync_data().is_err() && disk.len().is_err());
    assert_eq!(filled(&after), [1; 8192]);
}

#[test]
fn after_a_failed_sync_another_one_means_nothing_for_what_was_written_before() {
    let mut read_as_written = 0;
    for seed in 0..40 {
        let disk = CrashDisk::new(seed);
        disk.set_len(4096).unwrap();
        disk.sync_data().unwrap();
        disk.write(0, &[7; 4096]).unwrap();
        disk.fail(Fault { call: Call::Sync, nth: 1, error: FaultError::Io, forever: false });
        assert!(disk.sync_data().is_err());
        disk.sync_data().unwrap();
        let mut seen = [0; 4096];
        disk.read(0, &mut seen).unwrap();
        let kept = filled(&disk.look(Survival::All)) == [7; 4096];
        read_as_written += u32::from(seen == [7; 4096] && !kept);
        // What is written again is dirty again.
        disk.write(0, &[7; 4096]).unwrap();
        disk.sync_data().unwrap();
        assert_eq!(filled(&disk.look(Survival::None)), [7; 4096]);
    }
    assert!(read_as_written > 5, "{read_as_written}: both kinds of file system occur");
}

#[test]
fn calls_fail_at_their_turn_once_or_for_ever() {
    let disk = CrashDisk::new(1);
    let fault = Fault { call: Call::SetLen, nth: 2, error: FaultError::Full, forever: true };
    disk.fail(fault);
    disk.fail(Fault { call: Call::Write, nth: 1, error: FaultError::Io, forever: false });
    disk.set_len(512).unwrap();
    assert!(disk.write(0, &[1; 512]).is_err());
    disk.write(0, &[1; 512]).unwrap();
    for _ in 0..3 {
        let error = disk.set_len(1024).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
    disk.heal();
    disk.set_len(1024).unwrap();
    assert_eq!(disk.calls(), 7);
    disk.crash_in(2);
    disk.sync_data().unwrap();
    assert!(disk.sync_data().is_err() && disk.is_down());
}

#[test]
fn a_full_disk_takes_what_overwrites_and_refuses_the_rest() {
    let disk = CrashDisk::new(1);
    disk.set_len(1 << 20).unwrap();
    disk.write(0, &[1; 8192]).unwrap();
    disk.fill_up(1);
    disk.write(0, &[2; 8192]).unwrap();
    disk.write(8192, &[2; 4096]).unwrap();
    let error = disk.write(16_384, &[2; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let again = disk.reopen();
    assert!(again.write(16_384, &[2; 1]).is_err(), "full is full for whoever opens it");
    again.heal();
    again.write(16_384, &[2; 1]).unwrap();
    again.cut(4096);
    assert_eq!(filled(&again), [2; 4096]);
}
