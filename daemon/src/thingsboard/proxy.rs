//! Reads the setting `thingsboard.proxy`.

use url::Url;

/// An HTTP proxy, with or without TLS.
#[derive(Clone)]
pub(super) struct Proxy(Url);

impl Proxy {
    /// Reads the URL of a proxy: `http` or `https`, a host, perhaps a login; nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text.trim()).ok()?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        (matches!(url.scheme(), "http" | "https") && is_bare).then_some(Self(url))
    }

    /// Converts it for the HTTP library, for every request.
    pub(super) fn to_reqwest(&self) -> reqwest::Result<reqwest::Proxy> {
        reqwest::Proxy::all(self.0.as_str())
    }

    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_proxies_are_accepted() {
        for text in ["http://proxy.example:3128", "https://u:p%40@proxy.example/", " http://[::1]:8080 "] {
            assert!(Proxy::parse(text).is_some_and(|proxy| proxy.to_reqwest().is_ok()), "{text}");
        }
        for text in [
            "",
            "proxy.example:3128",
            "socks5://127.0.0.1:1080",
            "ftp://127.0.0.1:21",
            "http://u:p@:x",
            "http://proxy.example/path",
            "http://proxy.example?x",
        ] {
            assert!(Proxy::parse(text).is_none(), "{text}");
        }
        let proxy = Proxy::parse("http://u:p%40@proxy.example").unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy(***)");
    }
}
