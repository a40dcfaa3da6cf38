//! What measurements are held against is a real signature.

use super::MESSAGE;
use crate::random::SeededEntropy;
use crate::share::floor::Floor;
use crate::signature::{BadSignature, verify_strict};

#[test]
fn the_floor_makes_a_signature_each_time_and_never_the_same() {
    let mut entropy = SeededEntropy::new([5; 32]);
    let floor = Floor::new(&mut entropy).unwrap();
    let first = floor.login(MESSAGE, &mut entropy).unwrap();
    let second = floor.login(MESSAGE, &mut entropy).unwrap();
    assert_ne!(first, second);
    for signature in [first, second] {
        assert_eq!(verify_strict(floor.group(), MESSAGE, &signature), Ok(()));
        assert_eq!(
            verify_strict(floor.group(), b"other", &signature),
            Err(BadSignature)
        );
    }
    let other = Floor::new(&mut entropy).unwrap();
    assert_eq!(
        verify_strict(other.group(), MESSAGE, &first),
        Err(BadSignature)
    );
    assert_eq!(format!("{other:?}"), "Floor(<redacted>)");
}
