//! Where artifacts are kept, as an installation is told it: read from text, and
//! refused with the sentence that mends it. Knows neither files nor network.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use url::{Host, Url};

/// What a bucket's local copies may take, unless told otherwise.
pub const DEFAULT_CACHE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// Where an engine keeps artifacts.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum ArtifactPlace {
    /// `artifacts` within the data directory.
    #[default]
    DataDir,
    /// A folder that several machines may share.
    Folder(PathBuf),
    /// A bucket of an S3-compatible service.
    Bucket(Box<Bucket>),
}

/// A bucket, and how to get into it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What our keys begin with; no slash at either end, and may be empty.
    pub prefix: String,
    /// The service's address; AWS when there is none.
    pub endpoint: Option<String>,
    /// The region requests are signed for.
    pub region: String,
    /// Who we are.
    pub access_key_id: SecretString,
    /// What proves it.
    pub secret_access_key: SecretString,
    /// What proves it for a while, where the credentials are temporary.
    pub session_token: Option<SecretString>,
    /// How many bytes of local copies to keep.
    pub cache_bytes: u64,
}

/// What an installation says about its S3 service.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// `https://host[:port]`; AWS when there is none.
    pub endpoint: Option<String>,
    /// `us-east-1` when there is none, which services other than AWS accept.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<SecretString>,
    /// The access key's secret.
    pub secret_access_key: Option<SecretString>,
    /// With temporary credentials.
    pub session_token: Option<SecretString>,
    /// Whether an endpoint on another machine may be spoken to without TLS.
    pub allow_http: bool,
    /// How many bytes of local copies to keep; [`DEFAULT_CACHE_BYTES`] when nothing is said.
    pub cache_bytes: Option<u64>,
}

/// Which setting is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlaceError {
    /// The setting: `artifacts`, `s3.endpoint`, `s3.access_key_id`, `s3.secret_access_key`.
    pub setting: &'static str,
    /// A sentence.
    pub message: String,
}

impl PlaceError {
    fn new(setting: &'static str, message: impl Into<String>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }
}

/// Examples for whoever got it wrong.
const EXPECTED: &str = "expected a folder, `file:///folder` or `s3://bucket/prefix`";

impl ArtifactPlace {
    /// Reads `s3://bucket/prefix`, `file:///folder` or a path.
    ///
    /// # Errors
    /// [`PlaceError`] names the setting at fault.
    pub fn parse(text: &str, s3: S3Options) -> Result<Self, PlaceError> {
        let wrong = |why: &str| PlaceError::new("artifacts", format!("{EXPECTED}; {why}"));
        let Some((scheme, _)) = text.split_once("://") else {
            return match text {
                "" => Err(wrong("got nothing")),
                path => Ok(Self::Folder(path.into())),
            };
        };
        // What cannot be read may hold a password in the wrong place, so it is not repeated.
        let url = Url::parse(text).map_err(|e| wrong(&format!("this is no address: {e}")))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("nothing may follow `?` or `#`"));
        }
        match scheme {
            "file" => url
                .to_file_path()
                .map(Self::Folder)
                .map_err(|()| wrong("a `file` address has three slashes and no host")),
            "s3" => {
                if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
                    return Err(wrong(
                        "credentials and ports do not belong in it; set AQUATINT_S3_ACCESS_KEY_ID, AQUATINT_S3_SECRET_ACCESS_KEY and AQUATINT_S3_ENDPOINT",
                    ));
                }
                let name = url.host_str().unwrap_or_default();
                if !is_bucket(name) {
                    return Err(wrong(&format!("`{name}` is no bucket's name")));
                }
                let prefix = url.path().trim_matches('/');
                if !is_prefix(prefix) {
                    return Err(wrong(&format!(
                        "a prefix is made of letters, digits, `-`, `_`, `.` and single `/`, got `{prefix}`"
                    )));
                }
                Bucket::new(name, prefix, s3).map(|bucket| Self::Bucket(Box::new(bucket)))
            }
            other => Err(wrong(&format!("`{other}://` is none of them"))),
        }
    }
}

impl Bucket {
    fn new(name: &str, prefix: &str, s3: S3Options) -> Result<Self, PlaceError> {
        let endpoint = s3
            .endpoint
            .map(|endpoint| checked_endpoint(&endpoint, s3.allow_http))
            .transpose()?;
        let needed = |setting, variable: &str| {
            let message = format!("the bucket `{name}` needs credentials; set {variable}");
            PlaceError::new(setting, message)
        };
        Ok(Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            endpoint,
            region: s3.region.unwrap_or_else(|| "us-east-1".to_owned()),
            access_key_id: s3.access_key_id.ok_or_else(|| {
                needed(
                    "s3.access_key_id",
                    "AQUATINT_S3_ACCESS_KEY_ID or AWS_ACCESS_KEY_ID",
                )
            })?,
            secret_access_key: s3.secret_access_key.ok_or_else(|| {
                needed(
                    "s3.secret_access_key",
                    "AQUATINT_S3_SECRET_ACCESS_KEY or AWS_SECRET_ACCESS_KEY",
                )
            })?,
            session_token: s3.session_token,
            cache_bytes: s3.cache_bytes.unwrap_or(DEFAULT_CACHE_BYTES),
        })
    }
}

/// An address without secrets in it, that does not send ours in the clear.
fn checked_endpoint(text: &str, allow_http: bool) -> Result<String, PlaceError> {
    let wrong = |why: &str| {
        let message = format!("expected `https://host` or `https://host:port`; {why}");
        PlaceError::new("s3.endpoint", message)
    };
    let url = Url::parse(text).map_err(|e| wrong(&format!("this is no address: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "credentials do not belong in it; set AQUATINT_S3_ACCESS_KEY_ID and AQUATINT_S3_SECRET_ACCESS_KEY",
        ));
    }
    let host = url.host().ok_or_else(|| wrong("this one names no host"))?;
    let is_loopback = match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => IpAddr::from(ip).is_loopback(),
        Host::Ipv6(ip) => IpAddr::from(ip).is_loopback(),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback || allow_http => {}
        "http" => {
            return Err(wrong(
                "plain `http` shows files to whoever listens, so to another machine it must be allowed: AQUATINT_S3_ALLOW_HTTP=true",
            ));
        }
        other => return Err(wrong(&format!("got `{other}://`"))),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("nothing may follow `?` or `#`"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// What S3 allows as a name, and thereby in an address and a path.
fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
        && !name.starts_with(['.', '-'])
        && !name.ends_with(['.', '-'])
        && !name.contains("..")
}

fn is_prefix(prefix: &str) -> bool {
    prefix.len() <= 512
        && (prefix.is_empty()
            || prefix.split('/').all(|part| {
                !matches!(part, "" | "." | "..")
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            }))
}

impl fmt::Display for Bucket {
    /// As in `s3://bucket/prefix`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.name)?;
        if self.prefix.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.prefix)
        }
    }
}

/// Where one artifact is, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file on this machine, or a folder it shares.
    Path(PathBuf),
    /// `s3://bucket/key`.
    Url(String),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn options() -> S3Options {
        S3Options {
            access_key_id: Some("the-id".into()),
            secret_access_key: Some("the-secret".into()),
            ..S3Options::default()
        }
    }

    #[test]
    fn a_path_a_file_address_and_a_bucket_are_told_apart() {
        let folder = |text| match ArtifactPlace::parse(text, options()).unwrap() {
            ArtifactPlace::Folder(path) => path,
            other => panic!("{other:?}"),
        };
        assert_eq!(folder("/shared/files"), PathBuf::from("/shared/files"));
        assert_eq!(folder("file:///shared/a%20b"), PathBuf::from("/shared/a b"));
        let bucket = |text| match ArtifactPlace::parse(text, options()).unwrap() {
            ArtifactPlace::Bucket(bucket) => *bucket,
            other => panic!("{other:?}"),
        };
        assert_eq!(bucket("s3://pictures").to_string(), "s3://pictures");
        assert_eq!(
            bucket("s3://pictures/a/b/").to_string(),
            "s3://pictures/a/b"
        );
        assert_eq!(bucket("s3://pictures").region, "us-east-1");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_setting() {
        let refused = |text: &str, options: S3Options| {
            let error = ArtifactPlace::parse(text, options).unwrap_err();
            (error.setting, error.message)
        };
        for (text, part) in [
            ("", "got nothing"),
            ("file://host/share", "three slashes"),
            ("s3://", "no bucket's name"),
            ("s3://Bad_Name", "no bucket's name"),
            ("s3://bucket/a/../b?x=1", "follow"),
            ("s3://bucket/a//b", "single `/`"),
            ("s3://id:hunter2@bucket", "do not belong"),
            ("gs://bucket", "`gs://` is none"),
        ] {
            let (setting, message) = refused(text, options());
            assert_eq!(setting, "artifacts");
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        for (endpoint, part) in [
            ("http://minio.example.com", "AQUATINT_S3_ALLOW_HTTP"),
            ("https://id:hunter2@host", "do not belong"),
            ("ftp://host", "`ftp://`"),
            ("minio:9000", "names no host"),
        ] {
            let endpoint = Some(endpoint.to_owned());
            let (setting, message) = refused(
                "s3://bucket",
                S3Options {
                    endpoint,
                    ..options()
                },
            );
            assert_eq!(setting, "s3.endpoint");
            assert!(message.contains(part), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        let (setting, message) = refused("s3://bucket", S3Options::default());
        assert_eq!(setting, "s3.access_key_id");
        assert!(message.contains("AWS_ACCESS_KEY_ID"), "{message}");
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_allowed() {
        let with = |endpoint: &str, allow_http| {
            let endpoint = Some(endpoint.to_owned());
            let options = S3Options {
                endpoint,
                allow_http,
                ..options()
            };
            ArtifactPlace::parse("s3://bucket", options).is_ok()
        };
        for loopback in [
            "http://localhost:9000",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
        ] {
            assert!(with(loopback, false), "{loopback}");
        }
        assert!(!with("http://10.0.0.1:9000", false));
        assert!(with("http://10.0.0.1:9000", true));
        assert!(with("https://10.0.0.1", false));
    }

    #[test]
    fn secrets_are_not_shown() {
        let place = ArtifactPlace::parse("s3://bucket", options()).unwrap();
        let shown = format!("{place:?} {:?}", options());
        assert!(
            !shown.contains("the-id") && !shown.contains("the-secret"),
            "{shown}"
        );
    }
}
