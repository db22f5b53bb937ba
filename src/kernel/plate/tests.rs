//! Every row and trap of the plate table.

use super::*;
use proptest::prelude::*;
use rstest::rstest;

fn key(text: &str) -> String {
    Plate::parse(text).unwrap().key().to_owned()
}

#[rstest]
#[case("30F-254.38", "30F25438", PlateKind::Car)]
#[case("29X-1234", "29X1234", PlateKind::Car)]
#[case("29-M1 923.03", "29M192303", PlateKind::Motorbike)]
#[case("29-AA 123.45", "29AA12345", PlateKind::MotorbikeTwoLetters)]
#[case("29-AA 000.01", "29AA00001", PlateKind::MotorbikeTwoLetters)]
#[case("29-A1 123.45", "29A112345", PlateKind::Motorbike)]
#[case("29LD-123.45", "29LD12345", PlateKind::Special)]
#[case("29DA-123.45", "29DA12345", PlateKind::Special)]
#[case("29KT-123.45", "29KT12345", PlateKind::Special)]
#[case("29CD-123.45", "29CD12345", PlateKind::Special)]
#[case("29HC-123.45", "29HC12345", PlateKind::Special)]
#[case("29TĐ-123.45", "29TĐ12345", PlateKind::Special)]
#[case("29R-123.45", "29R12345", PlateKind::Special)]
#[case("51RM-123.45", "51RM12345", PlateKind::Special)]
#[case("29MK1-123.45", "29MK112345", PlateKind::Special)]
#[case("29MĐ1-123.45", "29MĐ112345", PlateKind::Special)]
#[case("80-829-NG-01", "80829NG01", PlateKind::Foreign)]
#[case("80-NG-829-03", "80NG82903", PlateKind::Foreign)]
#[case("29-041-QT-12", "29041QT12", PlateKind::Foreign)]
#[case("80-CV-829-003", "80CV829003", PlateKind::Foreign)]
#[case("80-829-NN-003", "80829NN003", PlateKind::Foreign)]
#[case("TM-12-34", "TM1234", PlateKind::Military)]
#[case("QA-12-3", "QA123", PlateKind::Military)]
#[case("T12-345.67", "T1234567", PlateKind::Temporary)]
#[case("12-345.67", "1234567", PlateKind::Event)]
fn every_kind_has_its_key(#[case] text: &str, #[case] wanted: &str, #[case] kind: PlateKind) {
    let plate = Plate::parse(text).unwrap();
    assert_eq!(plate.key(), wanted);
    assert_eq!(plate.kinds().first(), Some(&kind));
}

#[rstest]
#[case("30f-254.38")]
#[case("30F25438")]
#[case(" 30F\n254.38 ")]
#[case("30F–254·38")]
#[case("３０Ｆ－２５４．３８")]
#[case("30\u{200b}F 254\u{a0}38")]
fn separators_case_and_width_are_printing_only(#[case] text: &str) {
    assert_eq!(key(text), "30F25438");
}

#[rstest]
#[case("29MĐ1-123.45")]
#[case("29mđ1-123.45")]
#[case("29MÐ1-123.45")]
#[case("29mð1-123.45")]
#[case("29MƉ1-123.45")]
#[case("29MD\u{335}1-123.45")]
#[case("29MD\u{336}1-123.45")]
#[case("29MD1-123.45")]
fn the_electric_motorbike_keeps_its_true_letter(#[case] text: &str) {
    let plate = Plate::parse(text).unwrap();
    assert_eq!(plate.key(), "29MĐ112345");
    assert_ne!(plate.key(), key("29-M1 123.45"), "that is another bike");
    assert_eq!(plate.loose_key(), "29MD112345");
}

#[test]
fn a_trial_plate_is_not_the_motorbike_that_looks_like_it() {
    assert_ne!(key("29TĐ-123.45"), key("29-TD 123.45"));
    assert_eq!(
        Plate::parse("29TĐ12345").unwrap().loose_key(),
        Plate::parse("29TD12345").unwrap().loose_key(),
    );
}

#[test]
fn one_text_on_two_vehicles_is_told_apart_by_the_class() {
    let plate = Plate::parse("29B11234").unwrap();
    assert_eq!(plate.kind_on(VehicleClass::Car), Some(PlateKind::Car));
    assert_eq!(plate.kind_on(VehicleClass::Motorbike), Some(PlateKind::Motorbike));
    assert_ne!(plate.on(VehicleClass::Car), plate.on(VehicleClass::Motorbike));
    assert_eq!(
        plate.on(VehicleClass::Car),
        Plate::parse("29B-112.34").unwrap().on(VehicleClass::Car)
    );
}

#[test]
fn a_blue_motorbike_is_possible_only_with_its_letters() {
    assert!(Plate::parse("29-A1 123.45").unwrap().may_be_blue_motorbike());
    assert!(!Plate::parse("29-X1 123.45").unwrap().may_be_blue_motorbike());
    assert!(!Plate::parse("30A-123.45").unwrap().may_be_blue_motorbike());
}

#[test]
fn a_plate_stands_on_its_own_kind_of_vehicle() {
    let bike = Plate::parse("29-AA 123.45").unwrap();
    assert_eq!(bike.kind_on(VehicleClass::Car), None);
    let company = Plate::parse("29LD-123.45").unwrap();
    assert_eq!(company.kind_on(VehicleClass::Truck), Some(PlateKind::Special));
}

#[rstest]
#[case("13A-123.45", true)]
#[case("42A-123.45", true)]
#[case("01A-123.45", true)]
#[case("96-B1 123.45", true)]
#[case("29A-123.45", false)]
#[case("80A-123.45", false)]
#[case("TM-12-34", false)]
#[case("01-234.56", false)]
fn an_unknown_province_is_a_warning_not_a_refusal(#[case] text: &str, #[case] odd: bool) {
    assert_eq!(Plate::parse(text).unwrap().warning().is_some(), odd);
}

#[rstest]
#[case("", PlateError::Empty)]
#[case(" .-\n", PlateError::Empty)]
#[case("30F-254.38 and much more text behind", PlateError::TooLong)]
#[case("29MĐ1-123.456", PlateError::TooLong)]
#[case("30F_254,38", PlateError::Character(','))]
#[case("30F-254.38'", PlateError::Character('\''))]
#[case("30Ă-254.38", PlateError::Character('\u{306}'))]
#[case("٣٠F-254.38", PlateError::Character('٣'))]
#[case("30O-254.38", PlateError::UnusedLetter('O'))]
#[case("3OF-254.38", PlateError::UnusedLetter('O'))]
#[case("30W-254.38", PlateError::UnusedLetter('W'))]
#[case("30F-000.00", PlateError::Zero)]
#[case("29-AA 000.00", PlateError::Zero)]
#[case("29-M1 000.00", PlateError::Zero)]
#[case("30F-254", PlateError::Shape)]
#[case("F30-254.38", PlateError::Shape)]
#[case("29-M0 923.03", PlateError::Shape)]
#[case("29-AAA 123.45", PlateError::Shape)]
#[case("30ĐF-254.38", PlateError::Shape)]
#[case("12345", PlateError::Shape)]
fn junk_is_refused_with_a_reason(#[case] text: &str, #[case] why: PlateError) {
    assert_eq!(Plate::parse(text), Err(why));
}

#[test]
fn printing_hides_the_plate() {
    let plate = Plate::parse("30F-254.38").unwrap();
    assert_eq!(format!("{plate:?}"), "Plate(30***38)");
    assert_eq!(format!("{:?}", plate.on(VehicleClass::Car)), "PlateKey(30***38, car)");
}

proptest! {
    #[test]
    fn any_text_is_answered_without_a_panic(text in "\\PC{0,60}") {
        let _answer = Plate::parse(&text);
    }

    #[test]
    fn what_was_parsed_parses_to_itself(
        text in "[0-9]{2}[A-Z]{1,2}[0-9]{3,6}|[A-Z]{2}[0-9]{3,4}|[0-9]{5}[A-Z]{2}[0-9]{2,3}",
    ) {
        if let Ok(plate) = Plate::parse(&text) {
            prop_assert_eq!(Plate::parse(plate.key()), Ok(plate));
        }
    }

    #[test]
    fn separators_never_change_the_key(
        number in "[0-9]{2}[A-H][0-9]{4}[1-9]", at in 0_usize..8, mark in "[ .\\-/\n]{1,3}",
    ) {
        let mut printed = number.to_lowercase();
        printed.insert_str(at, &mark);
        prop_assert_eq!(key(&printed), number);
    }
}
