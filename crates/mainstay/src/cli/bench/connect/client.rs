//! Addresses of one server in, the cost of connections to each out; they take turns.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt;

use super::super::numbers::Samples;

/// Longest time that anything may take; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections of each kind that are not timed.
const WARM_UP: usize = 200;
/// Rounds in which each address gets its turn.
const ROUNDS: usize = 8;
/// How long a turn of "as many as possible" lasts.
const TURN: Duration = Duration::from_millis(250);
/// Requests in a turn on a kept connection.
const REQUESTS: usize = 500;
/// Bytes of a request and of its answer.
const REQUEST: [u8; 32] = [0x5a; 32];

/// What was measured of one way.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Opening a connection.
    pub(super) connect: Samples,
    /// A request and its answer.
    pub(super) turn: Samples,
    rates: Vec<f64>,
}

impl Way {
    /// Connections a second: the median of all turns.
    pub(super) fn per_second(&self) -> Option<f64> {
        let mut rates = self.rates.clone();
        rates.sort_unstable_by(f64::total_cmp);
        rates.get(rates.len() / 2).map(|rate| rate.round())
    }
}

/// Measures the ways to every address, in the same order, in the calling thread's network.
pub(super) fn measure(addresses: &[SocketAddr], samples: usize) -> Result<Vec<Way>> {
    let mut ways: Vec<(SocketAddr, Way)> = addresses.iter().map(|address| (*address, Way::default())).collect();
    for sample in 0..WARM_UP + samples {
        for (address, way) in &mut ways {
            let took = connect(*address)?.1;
            if sample >= WARM_UP {
                way.connect.add(took);
            }
        }
    }
    for _ in 0..ROUNDS {
        for (address, way) in &mut ways {
            way.rates.push(rate(*address)?);
        }
    }
    for _ in 0..ROUNDS {
        for (address, way) in &mut ways {
            turns(*address, &mut way.turn)?;
        }
    }
    Ok(ways.into_iter().map(|(_, way)| way).collect())
}

/// A new connection. It is reset when dropped, so that no port waits for stragglers and none run out.
fn connect(address: SocketAddr) -> Result<(TcpStream, Duration)> {
    let began = Instant::now();
    let stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    let took = began.elapsed();
    sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO))?;
    Ok((stream, took))
}

fn rate(address: SocketAddr) -> Result<f64> {
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < TURN {
        // One byte there and back: a client that only knocks is faster than any server takes calls, and its next calls
        // are dropped.
        let (mut stream, _) = connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&REQUEST[..1])?;
        stream.read_exact(&mut [0]).with_context(|| format!("no answer from {address}"))?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

fn turns(address: SocketAddr, samples: &mut Samples) -> Result<()> {
    let (mut stream, _) = connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = REQUEST;
    for _ in 0..REQUESTS {
        let began = Instant::now();
        stream.write_all(&REQUEST)?;
        stream.read_exact(&mut answer).with_context(|| format!("no answer from {address}"))?;
        samples.add(began.elapsed());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_measured_to_the_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || super::super::pair::serve(&listener));
        let ways = measure(&[address, address, address], 50).unwrap();
        assert_eq!(ways.len(), 3);
        for way in &ways {
            assert!(way.connect.percentile_us(50).unwrap() > 0.0);
            assert!(way.per_second().unwrap() > 0.0);
            assert!(way.turn.percentile_us(99).unwrap() >= way.turn.percentile_us(50).unwrap());
        }
    }
}
