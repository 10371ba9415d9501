//! The validated URL of a ThingsBoard server.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

use super::Urls;

/// A usable `tb_url`: `http` or `https`, a host, perhaps a path prefix; no user info, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// The key of a ThingsBoard server, as [`BaseUrl::identity`] spells it: two servers behind one proxy differ in their path.
/// Customers with the same key share a circuit breaker, a limit, and the ledger's probes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(Arc<str>);

impl ServerKey {
    /// Returns its text: `https://tb.example`, `http://tb.example:8080/iot`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns this key, sharing its text with the same key before.
    pub fn share(self, urls: &mut Urls) -> Self {
        Self(urls.share(&self.0))
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The text is not a URL.
    #[error("tb_url is not a URL")]
    Malformed,
    /// The scheme is neither http nor https.
    #[error("tb_url begins neither with http:// nor with https://")]
    Scheme,
    /// `https://user:password@host`.
    #[error("tb_url holds a user name or a password before the host")]
    UserInfo,
    /// `?…` or `#…`.
    #[error("tb_url holds a query or a fragment")]
    Query,
}

impl BaseUrl {
    /// Reads a `tb_url`. Spaces around it and slashes at its end do not matter.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        // The URL parser drops tabs and newlines inside; a row that holds them is wrong.
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(BadUrl::Malformed);
        }
        let mut url = Url::parse(text).map_err(|_| BadUrl::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadUrl::Query);
        }
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self(url))
    }

    /// Returns scheme, host, port and path in a normalized form: two rows with the same text mean the same server.
    pub fn identity(&self) -> String {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{}", self.0.scheme(), self.host(), self.path())
    }

    /// Returns host and path in the normalized form.
    pub fn host_and_path(&self) -> String {
        format!("{}{}", self.host(), self.path())
    }

    /// Returns the host in lower case and punycode, without the dot that ends a fully qualified name.
    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_end_matches('.')
    }

    /// Returns the path, percent-decoded once, without empty parts and a final `/`; the parser has resolved `.` and `..`.
    fn path(&self) -> String {
        let decoded = percent_decode_str(self.0.path()).decode_utf8_lossy();
        let parts = decoded.split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.fold(String::new(), |path, part| format!("{path}/{part}"))
    }

    /// Returns the URL of an endpoint; `path` must not begin with a slash.
    pub fn endpoint(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }

    /// Whether requests are encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns the key of the server.
    pub fn server_key(&self) -> ServerKey {
        // Screens and logs show the key, and a path may hold any character.
        ServerKey(self.identity().replace(char::is_control, "?").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_keep_the_prefix_and_ignore_stray_spaces_and_slashes() {
        for (text, login) in [
            ("https://tb.example", "https://tb.example/api/auth/login"),
            (" https://tb.example/ ", "https://tb.example/api/auth/login"),
            ("http://tb.example:8080/iot//", "http://tb.example:8080/iot/api/auth/login"),
            ("http://[::1]:9090", "http://[::1]:9090/api/auth/login"),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().endpoint("api/auth/login").as_str(), login);
        }
    }

    #[test]
    fn a_server_is_scheme_name_port_and_path() {
        let key = |text: &str| BaseUrl::parse(text).unwrap().server_key();
        assert_eq!(key("https://TB.example/a/"), key("https://tb.example:443//%61"));
        assert_ne!(key("https://tb.example/a"), key("https://tb.example/b"), "two behind one proxy");
        assert_ne!(key("https://tb.example"), key("http://tb.example"));
        assert_ne!(key("http://tb.example:81"), key("http://tb.example"));
        assert_eq!(key("https://TB.example/").to_string(), "https://tb.example");
        assert_eq!(key("https://tb.example:8443/a").to_string(), "https://tb.example:8443/a");
        assert_eq!(key("https://tb.example/%1b[2J%0a").to_string(), "https://tb.example/?[2J?");
    }

    #[test]
    fn spellings_of_one_server_have_one_identity() {
        let identity = |text: &str| BaseUrl::parse(text).unwrap().identity();
        for text in [
            "https://tb.example/iot/a",
            "https://TB.example.:443//iot/./x/../a/",
            "https://tb.example/%69ot/a",
        ] {
            assert_eq!(identity(text), "https://tb.example/iot/a", "{text}");
        }
        assert_eq!(identity("http://b\u{fc}ro.example:8080/"), "http://xn--bro-hoa.example:8080");
        assert_ne!(
            identity("https://tb.example/a%252f"),
            identity("https://tb.example/a%2f"),
            "decoded once"
        );
        assert_eq!(
            BaseUrl::parse("http://tb.example.:81").unwrap().server_key().as_str(),
            "http://tb.example:81"
        );
    }

    #[test]
    fn unusable_urls_say_why() {
        for (text, why) in [
            ("", BadUrl::Malformed),
            ("tb.example", BadUrl::Malformed),
            ("http://", BadUrl::Malformed),
            ("http://tb.exa\tmple", BadUrl::Malformed),
            ("ftp://tb.example", BadUrl::Scheme),
            ("tb.example:8080", BadUrl::Scheme),
            ("https://a:b@tb.example", BadUrl::UserInfo),
            ("https://a@tb.example", BadUrl::UserInfo),
            ("https://:b@tb.example", BadUrl::UserInfo),
            ("https://tb.example/?x=1", BadUrl::Query),
            ("https://tb.example/#x", BadUrl::Query),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(why), "{text:?}");
        }
    }
}
