//! A line's weather: a TCP proxy between two parties that cuts, holds back and slows what passes.
//!
//! It carries bytes in order or not at all, as TCP does, and never looks into them: Noise would
//! notice a changed one, and the store's tests are the place for bytes that change.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Bytes that a slow line passes on at a time.
const PIECE: usize = 4 * 1024;

/// How a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Bytes pass as they come.
    Fair,
    /// Every connection is reset, and new ones are reset as soon as they are made.
    Cut,
    /// Half-open: connections stand and new ones are taken, and nothing passes the way named here.
    /// What was sent meanwhile passes later, if both ends still wait for it.
    Stalled {
        /// From the dialler to the listener.
        there: bool,
        /// From the listener to the dialler.
        back: bool,
    },
    /// Each piece of at most 4 KiB waits.
    Slow {
        /// Before each piece.
        delay: Duration,
        /// Bytes a second beyond that.
        bytes_per_s: u32,
    },
}

/// A proxy that listens on loopback and dials one address. It ends with its last handle.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    carried: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback, for what listens at `target`.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(Weather::Fair);
        let carried = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, target, seen, Arc::clone(&carried)));
        Ok(Self {
            port,
            weather,
            carried,
            accepting,
        })
    }

    /// Where parties dial, instead of the target.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather of every connection, at once.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Bytes carried so far, both ways.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    weather: watch::Receiver<Weather>,
    carried: Arc<AtomicU64>,
) {
    loop {
        // Out of descriptors, or a peer that left at once: the next one may fare better.
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(carry(near, target, weather.clone(), Arc::clone(&carried)));
    }
}

/// One connection, until either end closes or the line is cut.
async fn carry(
    near: TcpStream,
    target: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    carried: Arc<AtomicU64>,
) {
    if *weather.borrow_and_update() == Weather::Cut {
        reset(&near);
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        reset(&near);
        return;
    };
    for stream in [&near, &far] {
        // A reset is what a cut is; without it the rest of the data would still be delivered.
        reset(stream);
        let _ = stream.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = pump(near_in, far_out, weather.clone(), true, &carried);
    let back = pump(far_in, near_out, weather.clone(), false, &carried);
    tokio::select! {
        () = there => {}
        () = back => {}
        () = cut(weather) => {}
    }
}

/// Dropping the stream will send a reset.
fn reset(stream: &TcpStream) {
    // A socket that refuses closes in the usual way: still a closed line.
    let _ = stream.set_zero_linger();
}

async fn cut(mut weather: watch::Receiver<Weather>) {
    // An error means that the proxy is gone, and its lines with it.
    let _ = weather.wait_for(|now| *now == Weather::Cut).await;
}

/// One direction of a connection.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    is_there: bool,
    carried: &AtomicU64,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let holds = |weather: &Weather| match weather {
            Weather::Stalled { there, back } => {
                if is_there {
                    *there
                } else {
                    *back
                }
            }
            _ => false,
        };
        let now = match weather.wait_for(|now| !holds(now)).await {
            Ok(now) => *now,
            Err(_) => return,
        };
        if let Weather::Slow { delay, bytes_per_s } = now {
            let bytes = u32::try_from(read).unwrap_or(u32::MAX);
            let sending = f64::from(bytes) / f64::from(bytes_per_s.max(1));
            tokio::time::sleep(delay + Duration::from_secs_f64(sending)).await;
        }
        let Some(bytes) = piece.get(..read) else {
            return;
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        carried.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    /// Answers every byte with the same byte.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn dial(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap()
    }

    async fn answer(stream: &mut TcpStream, said: u8) -> Option<io::Result<u8>> {
        // Whether the byte still finds the line is what is asked here.
        let _ = stream.write_all(&[said]).await;
        tokio::time::timeout(SOON, stream.read_u8()).await.ok()
    }

    #[tokio::test]
    async fn fair_carries_cut_resets_and_comes_back() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut line = dial(&proxy).await;
        assert_eq!(answer(&mut line, 7).await.unwrap().unwrap(), 7);
        assert_eq!(proxy.carried(), 2);
        proxy.set(Weather::Cut);
        assert!(answer(&mut line, 8).await.unwrap().is_err());
        let mut during = dial(&proxy).await;
        assert!(answer(&mut during, 9).await.unwrap().is_err());
        proxy.set(Weather::Fair);
        let mut after = dial(&proxy).await;
        assert_eq!(answer(&mut after, 10).await.unwrap().unwrap(), 10);
    }

    #[tokio::test]
    async fn a_stall_holds_one_way_and_delivers_late() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut line = dial(&proxy).await;
        assert_eq!(answer(&mut line, 1).await.unwrap().unwrap(), 1);
        proxy.set(Weather::Stalled {
            there: false,
            back: true,
        });
        assert!(answer(&mut line, 2).await.is_none());
        assert_eq!(proxy.carried(), 3, "what goes there still passes");
        let mut during = dial(&proxy).await;
        assert!(answer(&mut during, 3).await.is_none());
        proxy.set(Weather::Fair);
        assert_eq!(line.read_u8().await.unwrap(), 2);
        assert_eq!(during.read_u8().await.unwrap(), 3);
    }

    #[tokio::test]
    async fn slow_is_slow_and_a_cut_does_not_wait_for_it() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut line = dial(&proxy).await;
        proxy.set(Weather::Slow {
            delay: Duration::from_millis(50),
            bytes_per_s: 1_000,
        });
        let begun = tokio::time::Instant::now();
        line.write_all(&[5; 100]).await.unwrap();
        let mut back = [0; 100];
        line.read_exact(&mut back).await.unwrap();
        // Two ways, each 50 ms and 100 ms for 100 bytes at 1,000 a second.
        assert!(begun.elapsed() >= Duration::from_millis(295));
        proxy.set(Weather::Slow {
            delay: Duration::from_secs(3600),
            bytes_per_s: 1,
        });
        line.write_all(&[6]).await.unwrap();
        proxy.set(Weather::Cut);
        let read = tokio::time::timeout(SOON, line.read_u8()).await;
        assert!(read.unwrap().is_err());
    }
}
