//! Networks in files: model folders, published names, and the published pickles without running them.

use std::ops::ControlFlow;
use std::path::Path;

use crate::support::{fixture, uniform};
use burn::tensor::{Device, Tolerance};
use trefoil_core::nn::Init;
use trefoil_core::weights::{self, Precision};
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::{Churn, EdmSolverConfig};
use uni_instruct::edm::{
    Family, SampleError, SampleRequest, Teacher, TeacherConfig, UNetConfig, keys, published,
};

fn small(family: Family) -> Teacher {
    let network = UNetConfig {
        family,
        resolution: 8,
        label_dim: 3,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_blocks: 1,
        attn_resolutions: vec![4],
        dropout: 0.0,
        ..UNetConfig::default()
    };
    let fresh = network.init(&mut Init::random(Seed(1), &Device::flex())).unwrap();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    Teacher {
        network: fresh,
        config: TeacherConfig { network, sigma_data: 0.5, classes, one_step: None },
    }
}

#[test]
fn folders_and_weight_files_come_back() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    for family in Family::ALL {
        let teacher = small(family);
        let path = folder.path().join(format!("{family:?}"));
        teacher.save(&path, Precision::F32).unwrap();
        let again = Teacher::open(&path, &device).unwrap();
        assert_eq!(again.config, teacher.config);
        assert_eq!(keys::export(&again.network), keys::export(&teacher.network));
        // The weights alone say everything but the names of the classes.
        let alone = Teacher::open(&path.join("model.safetensors"), &device).unwrap();
        assert_eq!(alone.config.network, teacher.config.network);
        assert_eq!(keys::export(&alone.network), keys::export(&teacher.network));
        // Half precision on disk, single in memory.
        let path = folder.path().join(format!("half-{family:?}"));
        teacher.save(&path, Precision::F16).unwrap();
        let half = Teacher::open(&path, &device).unwrap();
        for ((name, found), (_, kept)) in
            keys::export(&half.network).iter().zip(keys::export(&teacher.network))
        {
            found.assert_approx_eq::<f32>(&kept, Tolerance::relative(1e-3).set_absolute(1e-7));
            assert_eq!(found.dtype(), kept.dtype(), "{name}");
        }
    }
}

#[test]
fn the_sizes_of_published_files_follow_from_their_tensors() {
    for (name, config) in UNetConfig::presets() {
        let shapes = keys::published_shapes(&config).unwrap();
        let shapes = shapes.iter().map(|(name, shape)| (name.as_str(), shape.clone())).collect();
        let found = uni_instruct::edm::config_of(&shapes).unwrap();
        assert_eq!(found, UNetConfig { dropout: 0.0, ..config }, "{name}");
    }
}

/// A file in the published form (`reference/edm_pickle.py`); its classes are text that must not run.
#[test]
fn published_pickles_are_read_as_data() {
    let teacher = Teacher::open(&fixture("edm_ncsnpp.pkl"), &Device::flex()).unwrap();
    let config = &teacher.config.network;
    assert_eq!((config.family, config.resolution), (Family::NcsnPlusPlus, 8));
    assert_eq!((config.model_channels, &config.channel_mult[..]), (8, &[1, 2][..]));
    assert_eq!((config.augment_dim, config.attn_resolutions.clone()), (9, vec![8]));
    let (tensors, sigma_data) = published::read(&fixture("edm_ncsnpp.pkl")).unwrap();
    assert_eq!(sigma_data, 0.5);
    for (name, scale) in [
        ("model.enc.8x8_block0.affine.weight", 1.5 / 32_f64.sqrt()),
        ("model.map_noise.freqs", 2.0),
    ] {
        let found: Vec<f32> = tensors[name].iter::<f32>().collect();
        let drawn = uniform(name, found.len()).into_iter();
        let expected: Vec<f32> = drawn.map(|v| (f64::from(v) * scale) as f32).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn other_pickles_are_refused_with_the_reason() {
    let error = |path: &Path| Teacher::open(path, &Device::flex()).unwrap_err().to_string();
    let found = error(&fixture("edm_hostile.pkl"));
    assert!(found.contains("pickle global `posix.system` at byte"), "{found}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.pkl");
    let whole = std::fs::read(fixture("edm_ncsnpp.pkl")).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(error(&path).contains("ends at byte"), "{}", error(&path));
    std::fs::write(&path, b"\x80\x04}.").unwrap();
    assert!(error(&path).contains("expected a dictionary with `ema`"), "{}", error(&path));
    std::fs::write(&path, b"\x80\x04}\x8c\x03emaK\x01s.").unwrap();
    assert!(error(&path).contains("`ema`: expected a module with its state, found int"));
    // Whatever is changed, there is an answer.
    for at in (0..whole.len()).step_by(211) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        std::fs::write(&path, &changed).unwrap();
        let _ = published::read(&path);
    }
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    let path = folder.path().join("other.safetensors");
    let tensors = keys::export(&small(Family::DdpmPlusPlus).network);
    let write = |tensors: &[(String, burn::tensor::TensorData)]| {
        weights::save(&path, tensors, Precision::F32, std::collections::BTreeMap::new()).unwrap();
        Teacher::open(&path, &device).unwrap_err().to_string()
    };
    let error = write(&tensors[..3]);
    assert!(error.contains("not the tensors of DDPM++, NCSN++ or ADM"), "{error}");
    let some: Vec<_> =
        tensors.iter().filter(|(name, _)| !name.contains("8x8_aux_conv")).cloned().collect();
    let error = write(&some);
    assert!(error.contains("lacks 2 tensor(s): `model.dec.8x8_aux_conv.bias`"), "{error}");
}

fn draw(teacher: &Teacher, request: &SampleRequest) -> Vec<Picture> {
    teacher.sample(request, &Device::flex(), &mut |_, _| ControlFlow::Continue(())).unwrap()
}

#[test]
fn a_picture_depends_on_seed_and_index_alone() {
    let teacher = small(Family::DdpmPlusPlus);
    let churn = Churn { amount: 4.0, ..Churn::default() };
    for churn in [Churn::default(), churn] {
        let mut request = SampleRequest::new(Seed(3), 5);
        request.solver = EdmSolverConfig { steps: 4, churn, ..EdmSolverConfig::default() };
        let together = draw(&teacher, &request);
        let mut steps = Vec::new();
        let in_twos = SampleRequest { batch: 2, ..request.clone() };
        let apart = teacher.sample(&in_twos, &Device::flex(), &mut |done, total| {
            steps.push((done, total));
            ControlFlow::Continue(())
        });
        let close = |a: &Picture, b: &Picture| {
            a.pixels().iter().zip(b.pixels()).all(|(a, b)| a.abs_diff(*b) <= 1)
        };
        assert!(together.iter().zip(&apart.unwrap()).all(|(a, b)| close(a, b)));
        assert_eq!((steps.len(), steps[0], *steps.last().unwrap()), (12, (2, 21), (21, 21)));
        let other = draw(&teacher, &SampleRequest { indices: vec![4], ..request });
        assert!(close(&other[0], &together[4]) && !close(&together[0], &together[1]));
    }
    let mut request = SampleRequest::new(Seed(3), 1);
    request.classes = vec![Some(3)];
    let result = teacher.sample(&request, &Device::flex(), &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(result, Err(SampleError::Class { class: 3, classes: 3 })));
}
