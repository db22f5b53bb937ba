//! Where the browser may go from our return page.
//!
//! The address is the payer's own and travels with the payment, not with the request, so that
//! our page cannot be used to send strangers somewhere else. Only encrypted addresses, our apps'
//! schemes and this machine are gone to by themselves.

use url::{Host, Url};

/// Shortest and longest address: VNPAY's limits for its own `vnp_ReturnUrl`.
pub const RETURN_URL_LEN: (usize, usize) = (10, 255);

/// Whether a payment may be created with this address.
pub fn is_acceptable(text: &str, app_schemes: &[String]) -> bool {
    let (min, max) = RETURN_URL_LEN;
    if !(min..=max).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return false;
    }
    let Ok(url) = Url::parse(text) else { return false };
    match url.scheme() {
        "http" | "https" => url.host().is_some() && url.username().is_empty(),
        scheme => app_schemes.iter().any(|known| known == scheme),
    }
}

/// The address to go to for a payment, with its outcome; `None` when nobody should be sent there.
pub fn target(
    text: &str,
    app_schemes: &[String],
    hosts: &[String],
    outcome: &[(&str, &str)],
) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    let allowed = match url.scheme() {
        "https" => true,
        "http" => {
            is_here(&url) || url.host_str().is_some_and(|host| hosts.iter().any(|h| h == host))
        }
        scheme => app_schemes.iter().any(|known| known == scheme),
    };
    if !allowed || !is_acceptable(text, app_schemes) {
        return None;
    }
    url.query_pairs_mut().extend_pairs(outcome);
    Some(url.to_string())
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example.vn/xong?a=1", true, true)]
    #[case("http://127.0.0.1:3000/xong", true, true)]
    #[case("http://localhost/xong", true, true)]
    #[case("iparking://thanh-toan/xong", true, true)]
    #[case("http://example.vn/xong", true, false)]
    #[case("http://127.0.0.1.example.vn/", true, false)]
    #[case("https://nguoi@app.example.vn/", false, false)]
    #[case("javascript:alert(document.domain)", false, false)]
    #[case("data:text/html,<script>1</script>", false, false)]
    #[case("other-app://thanh-toan", false, false)]
    #[case("/v1/payments", false, false)]
    #[case("https://a\n.example.vn/", false, false)]
    fn only_safe_addresses_are_gone_to(
        #[case] address: &str,
        #[case] acceptable: bool,
        #[case] gone_to: bool,
    ) {
        let schemes = ["iparking".to_owned()];
        assert_eq!(is_acceptable(address, &schemes), acceptable);
        assert_eq!(target(address, &schemes, &[], &[("status", "x")]).is_some(), gone_to);
    }

    #[test]
    fn the_outcome_is_added_to_what_the_address_had() {
        let address = target("https://a.vn/xong?a=1", &[], &[], &[("status", "succeeded")]);
        assert_eq!(address.as_deref(), Some("https://a.vn/xong?a=1&status=succeeded"));
    }

    #[test]
    fn a_long_address_is_refused() {
        let long = format!("https://a.vn/{}", "x".repeat(250));
        assert!(!is_acceptable(&long, &[]));
    }
}
