use serde_json::json;

use crate::support::{Merchant, Sandbox, is_signed, order_for};

const FAULTS: &str = "/control/faults/vnpay";

#[actix_web::test]
async fn a_dropped_ipn_never_comes() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    sandbox.put(FAULTS, json!({ "drop": 1.0 })).await;
    assert_eq!(sandbox.choose(&order_for("DROP-1", 1_000), "paid").await.0, 200);
    sandbox.wait_for_notified("dropped", 1).await;
    assert!(merchant.ipns().is_empty());
    assert_eq!(sandbox.book_entries().await, [("payment".into(), 1_000, "paid".into())]);

    assert_eq!(sandbox.delete(FAULTS).await.0, 204);
    sandbox.choose(&order_for("DROP-2", 1_000), "paid").await;
    assert_eq!(merchant.wait_for_ipns(1).await[0]["vnp_TxnRef"], "DROP-2");
}

#[actix_web::test]
async fn a_repeated_ipn_comes_twice_and_is_the_same() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    sandbox.put(FAULTS, json!({ "repeat": 1.0 })).await;
    sandbox.choose(&order_for("TWICE-1", 1_000), "paid").await;
    sandbox.wait_for_notified("accepted", 1).await;
    let ipns = merchant.ipns();
    assert_eq!(ipns.len(), 2);
    assert_eq!(ipns[0], ipns[1]);
    assert!(is_signed(&ipns[0]));
}

#[actix_web::test]
async fn a_forged_ipn_comes_before_the_true_one_and_never_has_a_valid_signature() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    sandbox.put(FAULTS, json!({ "forge": 1.0, "seed": 7 })).await;
    for n in 0..12 {
        let outcome = if n % 2 == 0 { "paid" } else { "cancelled" };
        sandbox.choose(&order_for(&format!("FORGE-{n}"), 1_000), outcome).await;
        sandbox.wait_for_notified("accepted", n + 1).await;
        let ipns = merchant.ipns();
        assert_eq!(ipns.len(), 2 * (n + 1));
        assert!(!is_signed(&ipns[2 * n]), "{n}");
        assert!(is_signed(&ipns[2 * n + 1]), "{n}");
    }
}

#[actix_web::test]
async fn a_reordered_ipn_waits_for_a_later_one() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    sandbox.put(FAULTS, json!({ "reorder": 1.0, "reorder_ms": 60_000 })).await;
    sandbox.choose(&order_for("FIRST", 1_000), "paid").await;
    sandbox.delete(FAULTS).await;
    sandbox.choose(&order_for("SECOND", 1_000), "paid").await;
    sandbox.wait_for_notified("accepted", 2).await;
    let order: Vec<_> = merchant.ipns().iter().map(|ipn| ipn["vnp_TxnRef"].clone()).collect();
    assert_eq!(order, ["SECOND", "FIRST"]);
}

#[actix_web::test]
async fn settings_are_checked_and_shown_with_their_seed() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let all = json!({ "drop": 0.2, "delay_ms": 0, "repeat": 0.1, "reorder": 0.05, "forge": 0.05,
        "timeout_after_charge": 0.05, "seed": 1 });
    let (status, answer) = sandbox.put(FAULTS, all).await;
    assert_eq!((status, answer["seed"].as_u64()), (200, Some(1)));
    assert_eq!(sandbox.get(FAULTS).await.1["drop"], 0.2);
    for bad in [json!({ "drop": 2 }), json!({ "drop": "x" }), json!({ "dorp": 0.1 }), json!([])] {
        let (status, problem) = sandbox.put(FAULTS, bad.clone()).await;
        assert_eq!((status, problem["status"].as_u64()), (400, Some(400)), "{bad}");
    }
    assert_eq!(sandbox.put("/control/faults/nobody", json!({})).await.0, 404);
}
