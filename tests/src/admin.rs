use std::time::Duration;

use serde_json::{Value, json};

/// The admin HTTP of one process.
#[derive(Debug, Clone)]
pub struct Admin {
    base: String,
    agent: ureq::Agent,
}

/// A status code and the JSON body; `Value::Null` where there was none.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// The `code` of a problem document, or nothing.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Admin {
    /// A client of the process at `base`, such as `http://127.0.0.1:41002`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(2)))
            .timeout_global(Some(Duration::from_secs(70)))
            .build()
            .into();
        Self { base: base.to_owned(), agent }
    }

    /// The same process asked with another limit on the whole answer.
    #[must_use]
    pub fn with_limit(&self, limit: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(limit))
            .build()
            .into();
        Self { base: self.base.clone(), agent }
    }

    /// The base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET; `None` if the process did not answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Answer> {
        answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// POST of a JSON body; `None` if the process did not answer (outcome unknown).
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Option<Answer> {
        answer(self.agent.post(format!("{}{path}", self.base)).send_json(body))
    }

    /// PUT of a JSON body; `None` if the process did not answer (outcome unknown).
    #[must_use]
    pub fn put(&self, path: &str, body: &Value) -> Option<Answer> {
        answer(self.agent.put(format!("{}{path}", self.base)).send_json(body))
    }

    /// DELETE; `None` if the process did not answer (outcome unknown).
    #[must_use]
    pub fn delete(&self, path: &str) -> Option<Answer> {
        answer(self.agent.delete(format!("{}{path}", self.base)).call())
    }

    /// GET of something that is no JSON, such as the metrics.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        self.agent.get(format!("{}{path}", self.base)).call().ok()?.body_mut().read_to_string().ok()
    }

    /// `/v1/view`, or `None` if the process did not answer.
    #[must_use]
    pub fn view(&self) -> Option<Value> {
        self.get("/v1/view").filter(|answer| answer.status == 200).map(|answer| answer.body)
    }

    /// True once `/readyz` says so.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_some_and(|answer| answer.status == 200)
    }

    /// The bubbles that the asked process believes `process` to host.
    #[must_use]
    pub fn bubbles_of(&self, process: &str) -> Vec<String> {
        let Some(answer) = self.get("/v1/topology") else { return Vec::new() };
        let processes = answer.body["processes"].as_array().cloned().unwrap_or_default();
        let own = processes.iter().find(|entry| entry["id"] == process);
        let bubbles = own.and_then(|entry| entry["bubbles"].as_array().cloned());
        strings(&bubbles.unwrap_or_default())
    }

    /// Every entity of the process with `status`, page by page; `None` if it stopped answering.
    #[must_use]
    pub fn entities(&self, status: &str) -> Option<Vec<Value>> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/entities?status={status}&limit=1000{after}");
            let answer = self.get(&path).filter(|answer| answer.status == 200)?;
            all.extend(answer.body["entities"].as_array()?.iter().cloned());
            match answer.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Some(all),
            }
        }
    }

    /// Moves entities and waits for the outcome.
    #[must_use]
    pub fn migrate(&self, entities: &[&str], to: &str, wait_ms: u64) -> Option<Answer> {
        let body = json!({ "entities": entities, "to": to, "wait_ms": wait_ms });
        self.post("/v1/migrations", &body)
    }
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut response = result.ok()?;
    let status = response.status().as_u16();
    let limit = 64 * 1024 * 1024;
    let text = response.body_mut().with_config().limit(limit).read_to_string().ok()?;
    Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

fn strings(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
