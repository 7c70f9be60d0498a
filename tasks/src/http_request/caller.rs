//! A plain POST to an address that somebody else chose: through the same gate, and no further.

use aquatint_engine::task::TaskError;

use super::{HttpRequest, answer, guard, network};
use crate::options::HttpOptions;

/// Calls any public address; private ones only where the installation allows it. Follows no redirects.
#[derive(Debug)]
pub(crate) struct Caller {
    request: HttpRequest,
    options: HttpOptions,
}

impl Caller {
    pub(crate) fn to_anybody(allow_private: bool) -> Self {
        let options = HttpOptions {
            allowed_hosts: vec!["*".to_owned()],
            allow_private,
            ..HttpOptions::default()
        };
        Self {
            request: HttpRequest::new(Some(options.clone())),
            options,
        }
    }

    /// Sends, and gives the status of a welcome: 200 to 299.
    ///
    /// # Errors
    /// `not_allowed` for a private address, `gone` for 410, both for good; another try may help with the rest.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, TaskError> {
        let url = guard::check_url(url, &self.options).map_err(closed)?;
        let shown = format!("POST {}{}", url.host_str().unwrap_or_default(), url.path());
        let mut request = self
            .request
            .client(&url, &self.options)?
            .post(url)
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await;
        let response = response.map_err(|error| closed(network(&shown, &error)))?;
        let status = response.status();
        let message = format!("{shown} answered {status}");
        match status.as_u16() {
            200..=299 => Ok(status.as_u16()),
            410 => Err(TaskError::fatal("gone", message)),
            _ => Err(answer::wait_of(status, response.headers()).map_or_else(
                || TaskError::retryable("refused", message.clone()),
                |wait| TaskError::retry_after(wait, "refused", message.clone()),
            )),
        }
    }
}

/// The gate speaks of `http.request`; whoever set up a webhook has another setting to turn.
fn closed(error: TaskError) -> TaskError {
    if error.class != "not_allowed" {
        return error;
    }
    TaskError::fatal(
        "not_allowed",
        "its address leads into a private or reserved network; if that is intended, set `allow_private_webhooks` under [api] in the configuration file",
    )
}
