//! Cuts off senders whose body does not arrive.
//!
//! After a 408 the library closes a connection whose body has a length, but keeps one with a
//! chunked body open for as long as its sender likes (measured, actix-web 4.18). So each
//! connection keeps a second handle to its socket, through which it can be shut down.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Extensions;

/// Time for the refusal to reach the sender before the connection is cut.
const FAREWELL: Duration = Duration::from_millis(500);

/// A second handle to the socket of a connection.
#[derive(Clone)]
struct Socket(Arc<TcpStream>);

/// Remembers a new connection's socket. For `HttpServer::on_connect`.
pub fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    if let Ok(socket) = stream.as_fd().try_clone_to_owned() {
        extensions.insert(Socket(Arc::new(TcpStream::from(socket))));
    }
}

/// Cuts the connection of a request off in a moment, whatever the library does.
pub fn cut_off_soon(request: &HttpRequest) {
    let Some(socket) = request.conn_data::<Socket>().cloned() else { return };
    drop(actix_web::rt::spawn(async move {
        tokio::time::sleep(FAREWELL).await;
        // It may be gone already, which is what we want.
        drop(socket.0.shutdown(Shutdown::Both));
    }));
}
