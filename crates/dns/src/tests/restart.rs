//! New sockets under load: no query is lost.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_is_lost() {
    let (handle, server) = serve(vec![]).await;
    handle.publish(zone());
    let (progress, mut go) = tokio::sync::mpsc::unbounded_channel();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let progress = progress.clone();
            tokio::spawn(async move {
                let question = query("web.ns.svc.cluster.local", Rtype::A, Class::IN, None);
                let mut buffer = [0; 512];
                for number in 0..2000_u32 {
                    // A new port each time, so that the kernel's choice among the sockets varies.
                    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                    socket.connect(server).await.unwrap();
                    socket.send(&question).await.unwrap();
                    let answered = tokio::time::timeout(std::time::Duration::from_secs(5), socket.recv(&mut buffer));
                    assert!(matches!(answered.await, Ok(Ok(_))), "query {number} was lost");
                    if number % 100 == 0 {
                        progress.send(()).unwrap();
                    }
                }
            })
        })
        .collect();
    let mut restarts = 0;
    drop(progress);
    while go.recv().await.is_some() {
        handle.restart().await.unwrap();
        restarts += 1;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(restarts, 4 * 2000 / 100);
    let lines = handle.logs().iter().filter(|line| line.text.contains("restarted")).count();
    assert_eq!(lines, restarts.min(crate::limits::LOG_LINES));
}
