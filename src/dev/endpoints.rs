//! What a running `iparking dev` tells: `endpoints.env` for programs, a few lines for people.

use std::path::Path;

use super::layout::write_private;

/// Addresses and logins of a run. Programs outside this repository read the file: its keys stay.
pub(super) struct Endpoints {
    pub(super) api: Vec<String>,
    pub(super) metrics: Vec<String>,
    pub(super) sandbox: String,
    pub(super) operator_api_key: String,
    pub(super) operator_lot_id: String,
    pub(super) operator2_api_key: String,
    pub(super) finance_username: String,
    pub(super) finance_password: String,
    pub(super) operator_username: String,
    pub(super) operator_password: String,
    /// For people only.
    pub(super) driver_phone: String,
}

impl Endpoints {
    /// The lines of the file; the last says that all before it is true.
    fn lines(&self) -> String {
        let api = self.api.join(",");
        let metrics = self.metrics.join(",");
        let pairs = [
            ("api", api.as_str()),
            ("metrics", &metrics),
            ("sandbox", &self.sandbox),
            ("operator_api_key", &self.operator_api_key),
            ("operator_lot_id", &self.operator_lot_id),
            ("operator2_api_key", &self.operator2_api_key),
            ("finance_username", &self.finance_username),
            ("finance_password", &self.finance_password),
            ("operator_username", &self.operator_username),
            ("operator_password", &self.operator_password),
            ("ready", "1"),
        ];
        let lines: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        lines.concat()
    }

    /// Writes `endpoints.env`, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_private(path, &self.lines())
    }

    /// What is printed when everything is up.
    pub(super) fn banner(&self) -> String {
        let first = self.api.first().map_or("", String::as_str);
        format!(
            "\n{lines}\n\
             API and its manual   {first}/docs\n\
             driver's login       POST {first}/v1/auth/otp {{\"phone\": \"{phone}\"}}, the code is at\n\
             \u{20}                    {sandbox}/sms?phone=%2B{digits}\n\
             operator's login     {operator} / {operator_password}\n\
             finance login        {finance} / {finance_password}\n\n\
             Try next, in a second shell:  make demo\n\
             Stop with Ctrl-C; a second start keeps the data.\n",
            lines = self.lines(),
            phone = self.driver_phone,
            digits = self.driver_phone.trim_start_matches('+'),
            sandbox = self.sandbox,
            operator = self.operator_username,
            operator_password = self.operator_password,
            finance = self.finance_username,
            finance_password = self.finance_password,
        )
    }
}
