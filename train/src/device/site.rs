//! A device that holds whole models.

use crate::direct::Precision;
use crate::model::Outside;
use crate::model::outside::Frozen;
use candle_core::{DType, Device, Result, Tensor};
use protocol::ids::Sha256;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where a worker's models live, and how factors of their products are rounded.
pub struct Site {
    device: Device,
    precision: Precision,
    /// Most records that were found to fit its memory at once.
    most: AtomicUsize,
    /// Frozen tensors of checkpoints, brought here once. Who reads them there keeps them: no task's checkpoint stays behind.
    outside: Mutex<BTreeMap<(Sha256, String), Weak<Tensor>>>,
}

impl Site {
    pub(super) fn new(device: Device, precision: Precision) -> Self {
        Self { device, precision, most: AtomicUsize::new(usize::MAX), outside: Mutex::default() }
    }

    /// The tensor engine's name of it.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// A factor of a product, rounded where the precision asks for it. Sums, norms, softmax, losses and weights stay in 32 bits
    /// (training.md M11).
    pub(crate) fn factor(&self, x: &Tensor) -> Result<Tensor> {
        match self.precision {
            Precision::F32 => Ok(x.clone()),
            Precision::Bf16 => x.to_dtype(DType::BF16),
        }
    }

    /// Most records that were found to fit at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// From here on no more than so many are tried.
    pub(super) fn at_most(&self, records: usize) {
        self.most.fetch_min(records, Ordering::Relaxed);
    }

    /// A tensor of a checkpoint, here. It is brought once for all who hold that checkpoint, and goes with the last of them: a site never has
    /// more than the checkpoints of tasks that are there.
    pub(crate) fn bring(&self, outside: &Outside, name: &str, tensor: &Frozen) -> Result<Tensor> {
        let mut here = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (outside.checkpoint(), name.to_owned());
        let there = match here.get(&key).and_then(Weak::upgrade) {
            Some(there) => there,
            None => {
                let there = Arc::new(tensor.on(&self.device)?);
                here.retain(|_, copy| copy.strong_count() > 0);
                here.insert(key, Arc::downgrade(&there));
                there
            }
        };
        let tensor = (*there).clone();
        outside.keep(there);
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outside::InPlace;

    fn checkpoint(digest: u8, names: &[&str]) -> Outside {
        let numbers: Arc<[f32]> = Arc::new([f32::from(digest); 4]);
        let lying = |name: &&str| {
            let owner = Arc::new(Arc::clone(&numbers));
            ((*name).to_owned(), Frozen::Lying(InPlace::new(owner, 0..4), vec![2, 2]))
        };
        Outside::new(Sha256([digest; 32]), names.iter().map(lying).collect())
    }

    fn brought(site: &Site, outside: &Outside, name: &str) -> Tensor {
        site.bring(outside, name, outside.find(name).unwrap()).unwrap()
    }

    /// Names that the site knows, and how many of them are still there.
    fn here(site: &Site) -> (usize, usize) {
        let all = site.outside.lock().unwrap();
        (all.len(), all.values().filter(|copy| copy.strong_count() > 0).count())
    }

    #[test]
    fn a_checkpoints_tensors_are_brought_once_and_go_with_its_last_task() {
        let site = Site::new(Device::Cpu, Precision::F32);
        let (first, second) = (checkpoint(1, &["a", "b"]), checkpoint(1, &["a", "b"]));
        let (a, b) = (brought(&site, &first, "a"), brought(&site, &first, "b"));
        assert_eq!((brought(&site, &first, "a").id(), here(&site)), (a.id(), (2, 2)), "in every round");
        assert_ne!(a.id(), b.id());
        assert_eq!(brought(&site, &second, "a").id(), a.id(), "of another task on the same checkpoint");
        drop((a, b));
        assert_eq!(here(&site), (2, 2), "kept between the rounds");
        drop(first);
        assert_eq!(here(&site).1, 1, "what the other task has read");
        let still = brought(&site, &second, "a");
        drop(second);
        assert_eq!(here(&site).1, 0);
        assert_eq!(still.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0; 4], "a model that has it goes on");
        // The names go too, with the next that is brought.
        let third = checkpoint(3, &["c"]);
        assert_eq!(brought(&site, &third, "c").flatten_all().unwrap().to_vec1::<f32>().unwrap(), [3.0; 4]);
        assert_eq!(here(&site), (1, 1));
    }
}
