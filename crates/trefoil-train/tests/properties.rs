//! Properties of the sampler that resumed runs rest on.

use proptest::prelude::*;
use trefoil_core::Seed;
use trefoil_train::Sampler;

proptest! {
    /// Each epoch holds each sample once, batches of any size visit in the same order, and a batch is a
    /// function of its position alone.
    #[test]
    fn the_order_depends_on_seed_and_visit_only(
        samples in 1_usize..50,
        sizes in (1_usize..20, 1_usize..20),
        seed in 0_u64..1000,
    ) {
        let order = |size: usize| -> Vec<usize> {
            let mut sampler = Sampler::new(samples, size, Seed(seed)).unwrap();
            let mut indices = Vec::new();
            while indices.len() < 3 * samples {
                let position = sampler.position(indices.len() as u64);
                let batch = sampler.batch(position);
                let fresh = Sampler::new(samples, size, Seed(seed)).unwrap().batch(position);
                assert_eq!(batch, fresh);
                indices.extend(batch.items.iter().map(|item| item.index));
            }
            indices.truncate(3 * samples);
            indices
        };
        let indices = order(sizes.0);
        prop_assert_eq!(&indices, &order(sizes.1));
        for epoch in indices.chunks(samples) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            prop_assert_eq!(epoch, (0..samples).collect::<Vec<_>>());
        }
    }
}
