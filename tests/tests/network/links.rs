use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use lampyrid_tests::eventually;
use lampyrid_tests::netns::{self, Network};

/// What the other tests rest on: the links do what they are told, and only those.
#[test]
fn links_drop_and_delay_as_told() {
    let Some(network) = Network::or_skip(3, 7) else { return };
    let bind = |at: usize| {
        let socket = network.namespace(at).enter(|| UdpSocket::bind((netns::address(at), 5_000)));
        let socket = socket.expect("it can be entered").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a limit");
        socket
    };
    let sockets: Vec<UdpSocket> = (0..3).map(bind).collect();
    let send = |from: usize, to: usize| {
        let start = Instant::now();
        sockets[from].send_to(&[7], (netns::address(to), 5_000)).expect("sent");
        sockets[to].recv_from(&mut [0]).ok().map(|(_, sender)| {
            assert_eq!(sender.ip(), netns::address(from));
            start.elapsed()
        })
    };
    let links = network.links();
    assert!(send(0, 1).is_some() && send(1, 0).is_some() && send(2, 0).is_some());
    links.cut_one_way(0, 1);
    assert!(send(0, 1).is_none() && send(1, 0).is_some());
    links.split(&[&[0], &[1, 2]]);
    assert!(send(1, 0).is_none() && send(0, 2).is_none() && send(1, 2).is_some());
    links.heal();
    links.delay(0, 1, Duration::from_millis(120));
    let (late, soon) = (send(0, 1).expect("it arrives"), send(1, 0).expect("it arrives"));
    assert!(late >= Duration::from_millis(120) && soon < late, "{late:?}, {soon:?}");
    links.heal();
    links.lose(0, 1, 80);
    let before = links.carried(0, 1);
    for _ in 0..1_000 {
        sockets[0].send_to(&[8], (netns::address(1), 5_000)).expect("sent");
    }
    let lost = eventually("all to be carried", || {
        let now = links.carried(0, 1);
        let (lost, passed) = (now.lost - before.lost, now.passed - before.passed);
        (lost + passed == 1_000).then_some(lost)
    });
    assert!((740..860).contains(&lost.0), "{lost:?} of 1,000 at 80 %");
}

/// Nothing of a network is left in the machine while it stands, nor afterwards.
#[test]
fn a_network_leaves_no_name_behind() {
    let Some(network) = Network::or_skip(2, 7) else { return };
    let mark = format!("lampyrid-{}-", std::process::id());
    let names = || {
        let entries = std::fs::read_dir(Path::new("/run/netns")).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&mark)).collect::<Vec<_>>()
    };
    // Networks of other tests may have a name for a moment.
    eventually("no names", || names().is_empty().then_some(()));
    drop(network);
    eventually("no names", || names().is_empty().then_some(()));
}
