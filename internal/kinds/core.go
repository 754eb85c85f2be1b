package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// coreKinds are the kinds of the core group.
func coreKinds() []*Kind {
	return []*Kind{
		object[corev1.Namespace, corev1.NamespaceList](Kind{
			Group: "", Version: "v1", Resource: "namespaces", Kind: "Namespace", Singular: "namespace",
			ShortNames:   []string{"ns"},
			Subresources: []string{"status", "finalize"},
			NameRule:     validation.NameIsDNSLabel,
			Columns:      namespaceColumns(),
			Fields:       fields(namespaceFields),
			FieldNames:   []string{"status.phase"},
			Strategy:     namespaceStrategy(),
		}),
		object[corev1.Node, corev1.NodeList](Kind{
			Group: "", Version: "v1", Resource: "nodes", Kind: "Node", Singular: "node",
			ShortNames:   []string{"no"},
			Subresources: []string{"status", "proxy"},
			Columns:      nodeColumns(),
			Fields:       fields(nodeFields),
			FieldNames:   []string{"spec.unschedulable"},
			Strategy:     nodeStrategy(),
		}),
		object[corev1.ComponentStatus, corev1.ComponentStatusList](Kind{
			Group: "", Version: "v1", Resource: "componentstatuses", Kind: "ComponentStatus", Singular: "componentstatus",
			ShortNames: []string{"cs"},
			ReadOnly:   true,
			Columns:    componentStatusColumns(),
		}),
		object[corev1.PersistentVolume, corev1.PersistentVolumeList](Kind{
			Group: "", Version: "v1", Resource: "persistentvolumes", Kind: "PersistentVolume", Singular: "persistentvolume",
			ShortNames:   []string{"pv"},
			Subresources: []string{"status"},
			Columns:      volumeColumns(),
			Strategy:     volumeStrategy(),
		}),
		object[corev1.Pod, corev1.PodList](Kind{
			Group: "", Version: "v1", Resource: "pods", Kind: "Pod", Singular: "pod",
			ShortNames:   []string{"po"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status", "log", "exec", "attach", "portforward", "proxy", "binding", "eviction", "ephemeralcontainers", "resize"},
			Columns:      podColumns(),
			Fields:       fields(podFields),
			FieldNames:   podFieldNames(),
			WatchField:   "spec.nodeName",
			Strategy:     podStrategy(),
		}),
		object[corev1.Service, corev1.ServiceList](Kind{
			Group: "", Version: "v1", Resource: "services", Kind: "Service", Singular: "service",
			ShortNames:     []string{"svc"},
			Categories:     []string{"all"},
			Namespaced:     true,
			Subresources:   []string{"status", "proxy"},
			NameRule:       validation.NameIsDNSLabel,
			Columns:        serviceColumns(),
			Fields:         fields(serviceFields),
			FieldNames:     []string{"spec.clusterIP", "spec.type"},
			CreateOnUpdate: true,
			NamedOnce:      true,
			Strategy:       serviceStrategy(),
		}),
		object[corev1.ReplicationController, corev1.ReplicationControllerList](Kind{
			Group: "", Version: "v1", Resource: "replicationcontrollers", Kind: "ReplicationController", Singular: "replicationcontroller",
			ShortNames:   []string{"rc"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status", "scale"},
			Columns:      replicationControllerColumns(),
			Fields:       fields(replicationControllerFields),
			FieldNames:   []string{"status.replicas"},
			NamedOnce:    true,
			Strategy:     warnedOfNames(warned(replicationControllerStrategy(), specPath("template"), func(r *corev1.ReplicationController) *corev1.PodTemplateSpec { return r.Spec.Template }, nil)),
		}),
		object[corev1.ConfigMap, corev1.ConfigMapList](Kind{
			Group: "", Version: "v1", Resource: "configmaps", Kind: "ConfigMap", Singular: "configmap",
			ShortNames: []string{"cm"},
			Namespaced: true,
			Columns:    configMapColumns(),
			Strategy:   configMapStrategy(),
		}),
		object[corev1.Secret, corev1.SecretList](Kind{
			Group: "", Version: "v1", Resource: "secrets", Kind: "Secret", Singular: "secret",
			Namespaced: true,
			Columns:    secretColumns(),
			Fields:     fields(secretFields),
			FieldNames: []string{"type"},
			Strategy:   secretStrategy(),
		}),
		object[corev1.Endpoints, corev1.EndpointsList](Kind{
			Group: "", Version: "v1", Resource: "endpoints", Kind: "Endpoints", Singular: "endpoints",
			ShortNames:     []string{"ep"},
			Namespaced:     true,
			Columns:        endpointsColumns(),
			CreateOnUpdate: true,
			Strategy:       endpointsStrategy(),
		}),
		object[corev1.Event, corev1.EventList](Kind{
			Group: "", Version: "v1", Resource: "events", Kind: "Event", Singular: "event",
			ShortNames:     []string{"ev"},
			Namespaced:     true,
			Columns:        eventColumns(),
			Fields:         fields(eventFields),
			FieldNames:     eventFieldNames(),
			NameRule:       PathSegment,
			CreateOnUpdate: true,
			NamedOnce:      true,
			Strategy:       eventStrategy(),
		}),
		object[corev1.LimitRange, corev1.LimitRangeList](Kind{
			Group: "", Version: "v1", Resource: "limitranges", Kind: "LimitRange", Singular: "limitrange",
			ShortNames:     []string{"limits"},
			Namespaced:     true,
			Columns:        roleColumns(),
			CreateOnUpdate: true,
			Strategy:       limitRangeStrategy(),
		}),
		object[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList](Kind{
			Group: "", Version: "v1", Resource: "persistentvolumeclaims", Kind: "PersistentVolumeClaim", Singular: "persistentvolumeclaim",
			ShortNames:   []string{"pvc"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      claimColumns(),
			Strategy:     claimStrategy(),
		}),
		object[corev1.PodTemplate, corev1.PodTemplateList](Kind{
			Group: "", Version: "v1", Resource: "podtemplates", Kind: "PodTemplate", Singular: "podtemplate",
			Namespaced: true,
			Columns:    podTemplateColumns(),
			NamedOnce:  true,
			Strategy:   warned(podTemplateStrategy(), field.NewPath("template"), func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template }, nil),
		}),
		object[corev1.ResourceQuota, corev1.ResourceQuotaList](Kind{
			Group: "", Version: "v1", Resource: "resourcequotas", Kind: "ResourceQuota", Singular: "resourcequota",
			ShortNames:   []string{"quota"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      resourceQuotaColumns(),
			NamedOnce:    true,
			Strategy:     resourceQuotaStrategy(),
		}),
		object[corev1.ServiceAccount, corev1.ServiceAccountList](Kind{
			Group: "", Version: "v1", Resource: "serviceaccounts", Kind: "ServiceAccount", Singular: "serviceaccount",
			ShortNames:   []string{"sa"},
			Namespaced:   true,
			Subresources: []string{"token"},
			Strategy: plain(rules[*corev1.ServiceAccount]{
				create: keepSecretNames,
				update: func(a, _ *corev1.ServiceAccount) { keepSecretNames(a) },
			}),
		}),
	}
}

// keepSecretNames drops what references to Secrets say beside their names: those
// are always in the account's namespace.
func keepSecretNames(a *corev1.ServiceAccount) {
	for i := range a.Secrets {
		a.Secrets[i] = corev1.ObjectReference{Name: a.Secrets[i].Name}
	}
}
