//! A TCP proxy that fails on command: a network that goes silent, or an answer that is cut off
//! after the question got through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Stands between the product and one server.
pub struct Proxy {
    pub address: SocketAddr,
    switches: Arc<Switches>,
}

#[derive(Default)]
struct Switches {
    silent: AtomicBool,
    cut_after_commit: AtomicBool,
    cuts: AtomicBool,
}

impl Proxy {
    pub async fn before(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let switches = Arc::new(Switches::default());
        let shared = Arc::clone(&switches);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let switches = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        pipe(client, server, switches).await;
                    }
                });
            }
        });
        Proxy { address, switches }
    }

    /// Bytes are taken and go nowhere, in both directions: no reset, no end.
    pub fn go_silent(&self) {
        self.switches.silent.store(true, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        self.switches.silent.store(false, Ordering::SeqCst);
    }

    /// Lets the next COMMIT through to Postgres and closes the connection before its answer.
    pub fn cut_after_next_commit(&self) {
        self.switches.cut_after_commit.store(true, Ordering::SeqCst);
    }

    pub fn has_cut(&self) -> bool {
        self.switches.cuts.load(Ordering::SeqCst)
    }
}

async fn pipe(client: TcpStream, server: TcpStream, switches: Arc<Switches>) {
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let cut = Arc::new(AtomicBool::new(false));
    let (cut_here, switches_here) = (Arc::clone(&cut), Arc::clone(&switches));
    let up = async move {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = client_in.read(&mut chunk).await {
            if switches_here.silent.load(Ordering::SeqCst) {
                continue;
            }
            let commits = chunk[..count].windows(7).any(|text| text == b"commit\0");
            if commits && switches_here.cut_after_commit.swap(false, Ordering::SeqCst) {
                cut_here.store(true, Ordering::SeqCst);
            }
            if server_out.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    let down = async move {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = server_in.read(&mut chunk).await {
            if cut.load(Ordering::SeqCst) {
                switches.cuts.store(true, Ordering::SeqCst);
                return;
            }
            if switches.silent.load(Ordering::SeqCst) {
                continue;
            }
            if client_out.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
