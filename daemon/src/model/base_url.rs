//! The address of a ThingsBoard server, checked.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

/// A usable `tb_url`: `http` or `https`, a host, perhaps a path prefix; no user info, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// One ThingsBoard server, as [`BaseUrl::identity`] writes it: two behind one proxy differ in their path. Customers with the
/// same key share one gate, and the doubt and the probes of the ledger. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey(Arc<str>);

impl HostKey {
    /// Its text: `https://tb.example`, `http://tb.example:8080/iot`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL at all.
    #[error("tb_url is not a URL")]
    Malformed,
    /// Some other scheme.
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
    /// Reads a `tb_url`; stray spaces around it and slashes at its end do not matter.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        // The parser of the URL standard drops tabs and line ends inside; a row that holds them is broken.
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

    /// Scheme, host, port and path in one form, whatever form the row gave them: two rows with the same text mean the same
    /// server.
    pub fn identity(&self) -> String {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{}", self.0.scheme(), self.host(), self.path())
    }

    /// The same without scheme and port.
    pub fn host_and_path(&self) -> String {
        format!("{}{}", self.host(), self.path())
    }

    /// The host in lower case and punycode, as the parser leaves it, without the dot that ends a fully qualified name.
    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_end_matches('.')
    }

    /// The path with percent signs decoded once, `//` made one and no `/` at its end; the parser has resolved `.` and `..`.
    fn path(&self) -> String {
        let decoded = percent_decode_str(self.0.path()).decode_utf8_lossy();
        let parts = decoded.split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.fold(String::new(), |path, part| format!("{path}/{part}"))
    }

    /// The address of an endpoint; `path` has no slash at its beginning.
    pub fn endpoint(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }

    /// Whether what is sent there is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Which server it is.
    pub fn host_key(&self) -> HostKey {
        // It is shown on screens and in logs; a path may hold anything.
        HostKey(self.identity().replace(char::is_control, "?").into())
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
        let key = |text: &str| BaseUrl::parse(text).unwrap().host_key();
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
            BaseUrl::parse("http://tb.example.:81").unwrap().host_key().as_str(),
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
