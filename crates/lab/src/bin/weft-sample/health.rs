//! gRPC's health checking protocol (grpc.health.v1), as far as a kubelet's probe asks for it: every call is answered with
//! SERVING. The whole message is five bytes of frame and two of payload, so no gRPC library is worth its size here.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::socket::accept_all;

/// Uncompressed, two bytes: field 1 (status), value 1 (SERVING).
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 0x08, 0x01];

pub(crate) async fn serve(listener: TcpListener) {
    accept_all(listener, |stream, _| {
        let service = service_fn(|request: Request<Incoming>| async move {
            // The answer needs nothing of the request, but a stream whose end nobody reads is reset.
            let _ = request.into_body().collect().await;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(Bytes::from_static(&SERVING));
            let mut response = Response::new(body.with_trailers(async { Some(Ok(trailers)) }));
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", kind);
            Ok::<_, Infallible>(response)
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        async move {
            // The client sees the end of the connection; there is nobody else to tell.
            let _ = connection.await;
        }
    })
    .await;
}
