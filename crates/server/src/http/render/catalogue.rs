//! Instance types and OS images; the same in every version.

use casemate_api::{
    page::{Page, PageRequest},
    reply::{
        AvailableOsImage, InstanceType, InstanceTypeFamily, InstanceTypeGroup, InstanceTypes,
        OsImage, OsImageVariant,
    },
};

use super::count;
use crate::view::{InstanceTypeView, OsImageView};

/// `GET /instance-types`: by family, in the order in which they come. Strict.
pub fn instance_types(all: &[InstanceTypeView]) -> InstanceTypes {
    let mut result: Vec<InstanceTypeGroup> = Vec::new();
    for view in all {
        if result.iter().all(|group| group.name != view.family) {
            let InstanceTypeFamily { items, total, family } =
                instance_type_family(&view.family, all);
            result.push(InstanceTypeGroup { name: family, items, total });
        }
    }
    InstanceTypes { result }
}

/// `GET /instance-types/{family}`: those of the list that are of the family. Strict.
pub fn instance_type_family(family: &str, all: &[InstanceTypeView]) -> InstanceTypeFamily {
    let of_family = |view: &&InstanceTypeView| view.family == family;
    let items: Vec<_> = all.iter().filter(of_family).map(instance_type).collect();
    InstanceTypeFamily { total: count(&items), items, family: family.to_owned() }
}

fn instance_type(view: &InstanceTypeView) -> InstanceType {
    InstanceType {
        id: view.id.clone(),
        name: view.name.clone(),
        description: view.description.clone(),
        vcpu: view.vcpu,
        memory_mb: view.memory_mb,
        hourly_rate: view.hourly_rate.clone(),
        requires_gpu: view.requires_gpu,
        default_disk_size_gb: view.default_disk_gb,
        family: Some(view.family.clone()),
    }
}

/// `GET /os-images` for the versions that page it, out of the whole list.
pub fn os_images(all: &[OsImageView], request: PageRequest) -> Page<OsImage> {
    Page::new(os_images_array(request.slice(all)), count(all), request)
}

/// `GET /os-images` where no version is asked for: a plain list, as it is documented.
pub fn os_images_array(all: &[OsImageView]) -> Vec<OsImage> {
    let image = |view: &OsImageView| OsImage {
        name: view.name.clone(),
        slug: view.slug(),
        version: view.version.clone(),
        os_image_hash: view.os_image_hash.clone(),
        is_dev: view.is_dev,
        requires_gpu: view.requires_gpu,
    };
    all.iter().map(image).collect()
}

/// `GET /cvms/{id}/available-os-images`: by version, newest first. `current` is the CVM's image.
pub fn available_os_images(all: &[OsImageView], current: &str) -> Vec<AvailableOsImage> {
    let mut result: Vec<AvailableOsImage> = Vec::new();
    for view in all {
        let version = view.version_numbers();
        let variant = Some(OsImageVariant {
            name: view.name.clone(),
            slug: view.slug(),
            os_image_hash: view.os_image_hash.clone(),
            is_current: view.name == current,
        });
        let (prod, dev) = if view.is_dev { (None, variant) } else { (variant, None) };
        match result.iter_mut().find(|group| group.version == version) {
            Some(group) if view.is_dev => group.dev = dev,
            Some(group) => group.prod = prod,
            None => result.push(AvailableOsImage { version, prod, dev }),
        }
    }
    result.sort_by(|one, other| other.version.cmp(&one.version));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, version: &str) -> OsImageView {
        OsImageView {
            name: name.to_owned(),
            version: version.to_owned(),
            is_dev: name.contains("-dev-"),
            requires_gpu: false,
            os_image_hash: None,
        }
    }

    #[test]
    fn versions_are_three_or_four_numbers() {
        for (version, numbers) in [
            ("0.5.4", vec![0, 5, 4]),
            ("v0.5.4.1", vec![0, 5, 4, 1]),
            ("0.5.4.1.9", vec![0, 5, 4, 1]),
            ("28", vec![28, 0, 0]),
            ("0.6.0-rc1", vec![0, 6, 0]),
            ("", vec![0, 0, 0]),
        ] {
            assert_eq!(image("i", version).version_numbers(), numbers, "{version}");
        }
    }

    #[test]
    fn the_two_images_of_a_version_are_one_row_and_the_newest_is_first() {
        let all = [
            image("dstack-0.5.4", "0.5.4"),
            image("dstack-dev-0.5.4", "0.5.4"),
            image("dstack-0.10.0", "0.10.0"),
        ];
        let rows = available_os_images(&all, "dstack-dev-0.5.4");
        assert_eq!(
            rows.iter().map(|row| row.version.clone()).collect::<Vec<_>>(),
            [[0, 10, 0], [0, 5, 4]]
        );
        assert_eq!(rows[0].dev, None);
        assert!(rows[1].dev.as_ref().is_some_and(|dev| dev.is_current));
        assert!(rows[1].prod.as_ref().is_some_and(|prod| !prod.is_current));
    }

    #[test]
    fn types_of_a_family_are_one_group() {
        let kind = |id: &str, family: &str| InstanceTypeView {
            id: id.to_owned(),
            name: String::new(),
            description: String::new(),
            family: family.to_owned(),
            vcpu: 1,
            memory_mb: 1,
            default_disk_gb: 1,
            hourly_rate: "0".to_owned(),
            requires_gpu: false,
        };
        let all = [kind("a", "cpu"), kind("b", "gpu"), kind("c", "cpu")];
        let groups = instance_types(&all).result;
        assert_eq!(
            groups.iter().map(|group| (group.name.as_str(), group.total)).collect::<Vec<_>>(),
            [("cpu", 2), ("gpu", 1)]
        );
        assert_eq!(instance_type_family("none", &all).total, 0);
    }
}
