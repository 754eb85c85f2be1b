package kinds

import storagev1 "k8s.io/api/storage/v1"

// storageKinds are the kinds of storage.k8s.io/v1.
func storageKinds() []*Kind {
	return []*Kind{
		object[storagev1.CSIDriver, storagev1.CSIDriverList](Kind{
			Group: "storage.k8s.io", Version: "v1", Resource: "csidrivers", Kind: "CSIDriver", Singular: "csidriver",
			Columns:   csiDriverColumns(),
			NamedOnce: true,
			Strategy:  csiDriverStrategy(),
		}),
		object[storagev1.CSINode, storagev1.CSINodeList](Kind{
			Group: "storage.k8s.io", Version: "v1", Resource: "csinodes", Kind: "CSINode", Singular: "csinode",
			Subresources: []string{"status"},
			Columns:      csiNodeColumns(),
			Strategy:     csiNodeStrategy(),
		}),
		object[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](Kind{
			Group: "storage.k8s.io", Version: "v1", Resource: "csistoragecapacities", Kind: "CSIStorageCapacity", Singular: "csistoragecapacity",
			Namespaced: true,
			Columns:    columns(createdColumn()),
			Strategy:   csiCapacityStrategy(),
		}),
		object[storagev1.StorageClass, storagev1.StorageClassList](Kind{
			Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses", Kind: "StorageClass", Singular: "storageclass",
			ShortNames: []string{"sc"},
			Columns:    storageClassColumns(),
			Strategy:   storageClassStrategy(),
		}),
		object[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList](Kind{
			Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments", Kind: "VolumeAttachment", Singular: "volumeattachment",
			Subresources: []string{"status"},
			Columns:      volumeAttachmentColumns(),
			Strategy:     volumeAttachmentStrategy(),
		}),
		object[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList](Kind{
			Group: "storage.k8s.io", Version: "v1", Resource: "volumeattributesclasses", Kind: "VolumeAttributesClass", Singular: "volumeattributesclass",
			ShortNames: []string{"vac"},
			Columns:    attributesClassColumns(),
			Strategy:   attributesClassStrategy(),
		}),
	}
}
