//! The forwarder against a resolver that loses, cuts, forges and delays.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UdpSocket;

use super::*;

/// An answer to `query` with one address.
fn reply(query: &[u8], ttl: u32, address: [u8; 4]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut out = query[..end].to_vec();
    out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&[0, 4]);
    out.extend_from_slice(&address);
    out
}

/// A resolver: `answer` gets each query and its number, and gives the packets to send.
async fn resolver(answer: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            for packet in answer(number, &buffer[..length]) {
                socket.send_to(&packet, client).await.unwrap();
            }
        }
    });
    (address, asked)
}

fn example(name: &str) -> Vec<u8> {
    query(name, Rtype::A, Class::IN, Some(1232))
}

#[tokio::test]
async fn answers_are_kept_and_keep_the_clients_case() {
    let (upstream, asked) = resolver(|_, query| vec![reply(query, 60, [192, 0, 2, 1])]).await;
    let (handle, server) = serve(vec![upstream]).await;
    handle.publish(zone());
    assert_eq!(show(&udp(server, &example("www.Example.com")).await), "NOERROR | www.Example.com 60 A 192.0.2.1");
    let again = &tcp(server, &[example("WWW.example.com")]).await[0];
    assert!(show(again).starts_with("NOERROR | WWW.example.com"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(handle.counts().cached, 1);
    handle.restart().await.unwrap();
    udp(server, &example("www.example.com")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a restart empties the cache");
}

#[tokio::test]
async fn an_alias_to_outside_is_resolved() {
    let (upstream, _) = resolver(|_, query| vec![reply(query, 60, [192, 0, 2, 1])]).await;
    let (handle, server) = serve(vec![upstream]).await;
    handle.publish(zone());
    assert_eq!(
        show(&udp(server, &example("out.ns.svc.cluster.local")).await),
        "NOERROR aa | out.ns.svc.cluster.local 5 CNAME www.example.com | www.example.com 60 A 192.0.2.1"
    );
}

#[tokio::test]
async fn equal_questions_fly_once() {
    let (upstream, asked) =
        resolver(|number, query| if number == 0 { vec![] } else { vec![reply(query, 0, [1; 4])] }).await;
    let (handle, server) = serve(vec![upstream]).await;
    handle.publish(zone());
    let question = example("www.example.com");
    let (a, b, c) = tokio::join!(udp(server, &question), udp(server, &question), udp(server, &question));
    assert!([a, b, c].iter().all(|answer| show(answer).starts_with("NOERROR |")));
    // The first packet was lost, the second one answered all three.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!((handle.counts().asked, handle.counts().joined), (1, 2));
}

#[tokio::test]
async fn forged_answers_are_ignored() {
    let (upstream, _) = resolver(|_, query| {
        let good = reply(query, 60, [192, 0, 2, 1]);
        let (mut id, mut name) = (reply(query, 60, [6; 4]), reply(query, 60, [6; 4]));
        id[0] ^= 1;
        name[13] ^= 1;
        vec![id, name, vec![1, 2, 3], good]
    })
    .await;
    let (handle, server) = serve(vec![upstream]).await;
    handle.publish(zone());
    assert_eq!(show(&udp(server, &example("www.example.com")).await), "NOERROR | www.example.com 60 A 192.0.2.1");
}

#[tokio::test]
async fn a_dead_or_failing_resolver_is_passed_over() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (failing, _) = resolver(|_, query| {
        let mut answer = reply(query, 60, [6; 4]);
        answer[3] |= 2;
        vec![answer]
    })
    .await;
    let (good, _) = resolver(|_, query| vec![reply(query, 60, [192, 0, 2, 1])]).await;
    let (handle, server) = serve(vec![dead, failing, good]).await;
    handle.publish(zone());
    assert!(show(&udp(server, &example("www.example.com")).await).starts_with("NOERROR |"));
    let (handle, server) = serve(vec![dead]).await;
    handle.publish(zone());
    assert_eq!(show(&udp(server, &example("www.example.com")).await), "SERVFAIL");
    assert_eq!(handle.counts().failed, 1);
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_over_tcp() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let mut cut = reply(&buffer[..length], 60, [6; 4]);
        cut[2] |= 2;
        socket.send_to(&cut, client).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut query).await.unwrap();
        let whole = reply(&query, 60, [192, 0, 2, 1]);
        stream.write_u16(whole.len() as u16).await.unwrap();
        stream.write_all(&whole).await.unwrap();
    });
    let (handle, server) = serve(vec![address]).await;
    handle.publish(zone());
    assert_eq!(show(&udp(server, &example("www.example.com")).await), "NOERROR | www.example.com 60 A 192.0.2.1");
}
