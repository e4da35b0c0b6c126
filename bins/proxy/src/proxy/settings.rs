//! What the parts of a proxy are told of its configuration.

use std::net::IpAddr;

use meshkit_http::server;

use crate::{
    Config,
    config::{FlowControl, transport},
    net::TcpConnect,
};

pub(super) fn tcp_connect(connect: &transport::Connect, bind: Option<IpAddr>) -> TcpConnect {
    TcpConnect { limit: connect.timeout, options: connect.socket, bind }
}

pub(super) fn server_settings(config: &Config, accept: &transport::Accept) -> server::Settings {
    let from = &accept.http2;
    let mut http2 = server::Http2 {
        keep_alive: from.keep_alive.map(|k| meshkit_core::endpoint::KeepAlive {
            interval: k.interval,
            timeout: k.timeout,
            while_idle: meshkit_core::endpoint::WhileIdle::Ping,
        }),
        max_concurrent_streams: from.max_concurrent_streams,
        max_frame_size: from.max_frame_size,
        max_header_list_size: from.max_header_list_size,
        max_pending_accept_reset_streams: from.max_pending_accept_reset_streams,
        max_send_buf_size: from.max_send_buf_size,
        ..server::Http2::default()
    };
    match from.flow_control {
        FlowControl::Adaptive => http2.adaptive_window = true,
        FlowControl::Fixed { stream, connection } => {
            http2.stream_window = stream;
            http2.connection_window = connection;
        }
    }
    server::Settings {
        max_header_bytes: config.limits.max_header_bytes,
        header_read_timeout: config.limits.header_read_timeout,
        http2,
        ..server::Settings::default()
    }
}
