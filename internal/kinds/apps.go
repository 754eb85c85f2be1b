package kinds

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// appsKinds are the kinds of apps/v1.
func appsKinds() []*Kind {
	return []*Kind{
		object[appsv1.ControllerRevision, appsv1.ControllerRevisionList](Kind{
			Group: "apps", Version: "v1", Resource: "controllerrevisions", Kind: "ControllerRevision", Singular: "controllerrevision",
			Namespaced: true,
			Columns:    controllerRevisionColumns(),
			Strategy:   controllerRevisionStrategy(),
		}),
		object[appsv1.DaemonSet, appsv1.DaemonSetList](Kind{
			Group: "apps", Version: "v1", Resource: "daemonsets", Kind: "DaemonSet", Singular: "daemonset",
			ShortNames:   []string{"ds"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      daemonSetColumns(),
			NamedOnce:    true,
			Strategy:     warned(daemonSetStrategy(), specPath("template"), func(d *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &d.Spec.Template }, nil),
		}),
		object[appsv1.Deployment, appsv1.DeploymentList](Kind{
			Group: "apps", Version: "v1", Resource: "deployments", Kind: "Deployment", Singular: "deployment",
			ShortNames:   []string{"deploy"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status", "scale"},
			Columns:      deploymentColumns(),
			NamedOnce:    true,
			Strategy:     deploymentStrategy(),
		}),
		object[appsv1.ReplicaSet, appsv1.ReplicaSetList](Kind{
			Group: "apps", Version: "v1", Resource: "replicasets", Kind: "ReplicaSet", Singular: "replicaset",
			ShortNames:   []string{"rs"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status", "scale"},
			Columns:      replicaSetColumns(),
			NamedOnce:    true,
			Strategy:     warnedOfNames(warned(replicaSetStrategy(), specPath("template"), func(r *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &r.Spec.Template }, nil)),
		}),
		object[appsv1.StatefulSet, appsv1.StatefulSetList](Kind{
			Group: "apps", Version: "v1", Resource: "statefulsets", Kind: "StatefulSet", Singular: "statefulset",
			ShortNames:   []string{"sts"},
			Categories:   []string{"all"},
			Namespaced:   true,
			Subresources: []string{"status", "scale"},
			Columns:      statefulSetColumns(),
			NamedOnce:    true,
			Strategy:     statefulSetStrategy(),
		}),
	}
}
