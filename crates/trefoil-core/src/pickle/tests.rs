use super::*;

fn any(_: &str, _: &str) -> bool {
    true
}

/// Appends an instruction with a length of one byte.
fn short(opcode: u8, body: &str) -> Vec<u8> {
    [&[opcode, body.len() as u8], body.as_bytes()].concat()
}

/// `pickle.dumps(OrderedDict([("a", 1), ("b", [2.5, None, True, "é", b"\x00", -3, 70000])]), 2)` with the
/// memo left out.
fn ordered_dict() -> Vec<u8> {
    let mut program = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    program.extend(short(0x8c, "a"));
    program.extend(b"K\x01");
    program.extend(short(0x8c, "b"));
    program.extend(b"](G\x40\x04\0\0\0\0\0\0N\x88");
    program.extend(short(0x8c, "\u{e9}"));
    program.extend(b"C\x01\0\x8a\x01\xfdJ\x70\x11\x01\0eu.");
    program
}

#[test]
fn values_are_read_and_calls_are_kept() {
    let mut bytes = ordered_dict();
    let length = bytes.len();
    bytes.extend(b"more");
    let pickle = Pickle::read(&bytes, &|m, n| (m, n) == ("collections", "OrderedDict")).unwrap();
    assert_eq!(pickle.length(), length);
    let root = pickle.root();
    let (global, arguments) = root.call().unwrap();
    assert_eq!(global, ("collections", "OrderedDict"));
    assert_eq!(arguments.items().unwrap().count(), 0);
    assert_eq!(root.get("a").unwrap().as_usize(), Some(1));
    assert!(root.get("c").is_none());
    let list: Vec<Value<'_, '_>> = root.get("b").unwrap().items().unwrap().collect();
    assert_eq!(list[0].as_float(), Some(2.5));
    assert!(list[1].is_none());
    assert_eq!(list[2].as_bool(), Some(true));
    assert_eq!(list[3].as_str(), Some("\u{e9}"));
    assert_eq!(list[4].as_bytes(), Some(&[0][..]));
    assert_eq!((list[5].as_int(), list[5].as_usize()), (Some(-3), None));
    assert_eq!((list[6].as_int(), list[6].kind()), (Some(70000), "int"));
}

/// PyTorch's old files start with this number.
#[test]
fn long_integers_have_up_to_128_bits() {
    let bytes = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.";
    let pickle = Pickle::read(bytes, &any).unwrap();
    assert_eq!(pickle.root().as_int(), Some(0x1950_a86a_20f9_469c_fc6c));
    let long = [&b"\x8a\x11"[..], &[1; 17], b"."].concat();
    let error = Pickle::read(&long, &any).unwrap_err().to_string();
    assert_eq!(error, "pickle opcode LONG1 at byte 0: expected an integer of at most 128 bits");
}

#[test]
fn states_keywords_persistent_ids_and_the_memo() {
    let mut bytes = b"\x80\x04".to_vec();
    bytes.extend(short(0x8c, "m"));
    bytes.extend(short(0x8c, "N"));
    bytes.extend(b"\x93\x94"); // remembered at place 0
    bytes.extend(b"K\x07\x85}"); // (7,), {}
    bytes.extend(short(0x8c, "k"));
    bytes.extend(b"Ns\x92"); // m.N(7, k=None)
    bytes.extend(b"K\x05Qbh\0\x86."); // its state, and a pair with m.N itself
    let pickle = Pickle::read(&bytes, &any).unwrap();
    let [object, global] = pickle.root().tuple().unwrap();
    assert_eq!(global.global(), Some(("m", "N")));
    let (name, arguments) = object.call().unwrap();
    assert_eq!(name, ("m", "N"));
    assert_eq!(arguments.tuple::<1>().unwrap()[0].as_int(), Some(7));
    assert!(object.keywords().unwrap().get("k").unwrap().is_none());
    assert_eq!(object.state().unwrap().persistent().unwrap().as_int(), Some(5));
    assert_ne!(object.identity(), global.identity());
}

#[test]
fn globals_outside_of_the_list_are_named() {
    let error = Pickle::read(b"\x80\x02cos\nsystem\n.", &|m, _| m == "collections").unwrap_err();
    let expected = PickleError::Global { module: "os".into(), name: "system".into(), offset: 2 };
    assert_eq!(error, expected);
    assert_eq!(error.to_string(), "pickle global `os.system` at byte 2 is not allowed");
    let stacked = [&short(0x8c, "os")[..], &short(0x8c, "system"), b"\x93."].concat();
    assert!(matches!(Pickle::read(&stacked, &|_, _| false), Err(PickleError::Global { .. })));
}

#[test]
fn opcodes_outside_of_the_list_are_named() {
    for (program, message) in [
        (&b"(ios\nsystem\n."[..], "pickle opcode INST at byte 1 is not allowed"),
        (b"(o.", "pickle opcode OBJ at byte 1 is not allowed"),
        (b"\x82\x01.", "pickle opcode EXT1 at byte 0 is not allowed"),
        (b"S'a'\n.", "pickle opcode STRING at byte 0 is not allowed"),
        (b"\xff.", "pickle opcode 0xff at byte 0 is not allowed"),
    ] {
        assert_eq!(Pickle::read(program, &any).unwrap_err().to_string(), message);
    }
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    for program in [
        &b""[..],
        b"\x80",
        b"\x80\x06.",
        b".",
        b"(.",
        b"N(.",
        b"(0.",
        b"N(\x85.",
        b"R.",
        b"NNR.",
        b"cm\nn\nNR.",
        b"cm\nn",
        b"h\0.",
        b"q\0.",
        b"Na.",
        b"]Na",
        b"}(NuN.",
        b"NNb.",
        b"X\xff\xff\xff\xffabc.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"\x8c\x01\xff.",
        b"\x8b\xff\xff\xff\x7f.",
    ] {
        assert!(Pickle::read(program, &any).is_err(), "{program:?}");
    }
    // Every prefix of a good program is refused, and every single changed byte is survived.
    let program = ordered_dict();
    for end in 0..program.len() {
        assert!(Pickle::read(&program[..end], &any).is_err(), "{end}");
    }
    for at in 0..program.len() {
        for bit in 0..8 {
            let mut damaged = program.clone();
            damaged[at] ^= 1 << bit;
            let _ = Pickle::read(&damaged, &any);
        }
    }
}

/// A list that holds itself, and a list nested a hundred thousand times.
#[test]
fn cycles_and_depth_need_no_recursion() {
    let pickle = Pickle::read(b"]q\0h\0a.", &any).unwrap();
    let root = pickle.root();
    assert_eq!(root.items().unwrap().next().unwrap().identity(), root.identity());
    let deep = [vec![b']'; 100_000], vec![b'a'; 99_999], vec![b'.']].concat();
    let pickle = Pickle::read(&deep, &any).unwrap();
    assert_eq!(pickle.root().items().unwrap().count(), 1);
}

#[test]
fn values_are_counted() {
    let many = vec![b'N'; MAX_VALUES + 1];
    assert_eq!(Pickle::read(&many, &any).unwrap_err(), PickleError::TooLarge { limit: MAX_VALUES });
    let again = [vec![b'N'], vec![b'2'; MAX_VALUES]].concat();
    assert!(matches!(Pickle::read(&again, &any), Err(PickleError::TooLarge { .. })));
}
