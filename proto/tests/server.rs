//! The server of a URL, as clients look it up.

use tbtoken_proto::host_of;

#[test]
fn a_server_is_scheme_name_unusual_port_and_path() {
    for (url, server) in [
        ("https://tb.example.com", Some("https://tb.example.com")),
        (" HTTPS://TB.Example.com:443/iot/ ", Some("https://tb.example.com/iot")),
        ("https://tb.example.com//a/./B/../c?x=/d#/e", Some("https://tb.example.com/a/c")),
        ("https://tb.example.com/..", Some("https://tb.example.com")),
        ("http://tb.example.com:", Some("http://tb.example.com")),
        ("http://tb.example.com:8080/x", Some("http://tb.example.com:8080/x")),
        ("http://tb.example.com:443", Some("http://tb.example.com:443")),
        ("http://[::1]:9090", Some("http://[::1]:9090")),
        ("http://[::1]/x:1", Some("http://[::1]/x:1")),
        ("https://***@tb.example.com", None),
        ("ftp://tb.example.com", None),
        ("tb.example.com", None),
        ("http://", None),
        ("http://tb.example.com:99999", None),
        ("", None),
    ] {
        assert_eq!(host_of(url).as_deref(), server, "{url:?}");
    }
}
