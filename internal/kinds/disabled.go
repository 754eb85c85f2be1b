package kinds

import (
	"fmt"
	"reflect"

	"navarch.dev/navarch/internal/kinds/disabled"
)

// DropDisabled takes away what an object has in fields of features that Kubernetes
// 1.37 has switched off unless told otherwise, and that nothing in a cluster would
// heed: who writes them would believe them to be in effect. What the stored object,
// old, uses already stays; old is nil for a new object.
func (k *Kind) DropDisabled(obj, old Object) {
	if k.disabled != nil {
		k.disabled.Drop(obj, old)
	}
}

// disabledFields returns the fields of a kind's features that are switched off, nil
// if there are none.
func disabledFields(k *Kind) *disabled.Fields {
	if k.Custom != nil {
		return nil
	}
	features := disabledFeatures(k.GroupResource().String())
	if len(features) == 0 {
		return nil
	}
	fields, err := disabled.Compile(reflect.TypeOf(k.New()).Elem(), features...)
	if err != nil {
		panic(fmt.Sprintf("the table of disabled features: %v", err)) // every test that has a kind sees it
	}
	return fields
}

// disabledFeatures returns the features of a resource that are switched off in
// Kubernetes 1.37 (pkg/features), with the fields that kube-apiserver drops. What a
// Navarch cluster does heed is not among them: the stop signals of containers
// (ContainerStopSignals), which agents send.
func disabledFeatures(resource string) []disabled.Feature {
	switch resource {
	case "pods":
		return append(podFeatures("spec."), podStatusFeatures()...)
	case "podtemplates":
		return podFeatures("template.spec.")
	case "replicationcontrollers", "daemonsets.apps", "deployments.apps", "replicasets.apps", "statefulsets.apps":
		return podFeatures("spec.template.spec.")
	case "jobs.batch":
		return jobFeatures("spec.")
	case "cronjobs.batch":
		return jobFeatures("spec.jobTemplate.spec.")
	case "nodes":
		return []disabled.Feature{
			// Agents have no configuration that is an object, as kubelets had up to v1.23.
			{Name: "DynamicKubeletConfig", Fields: []string{"spec.configSource"}},
			{Name: "DynamicKubeletConfig", Fields: []string{"status.config"}},
			{Name: "InPlacePodVerticalScalingSchedulerPreemption", Fields: []string{"spec.podPreemptionPolicy"}},
		}
	case "persistentvolumeclaims":
		return []disabled.Feature{{Name: "CSIVolumeHealth", Fields: []string{"status.healthStatus"}}}
	case "csinodes.storage.k8s.io":
		return []disabled.Feature{{Name: "CSIVolumeHealth", Fields: []string{"status.storageHealth"}}}
	case "resourceslices.resource.k8s.io":
		return sliceFeatures()
	case "resourceclaims.resource.k8s.io":
		return append(claimFeatures("spec."),
			disabled.Feature{Name: "DRAOptionalNodeOperations", Fields: []string{"status.allocation.devices.results[*].skipNodeOperations"}})
	case "resourceclaimtemplates.resource.k8s.io":
		return claimFeatures("spec.spec.")
	}
	return nil
}

// podFeatures are those of the specifications of pods, which are at the path.
func podFeatures(at string) []disabled.Feature {
	containers := under(at, "containers[*].", "initContainers[*].", "ephemeralContainers[*].")
	probes := across(containers, "livenessProbe.", "readinessProbe.", "startupProbe.")
	return []disabled.Feature{
		{Name: "GenericWorkload", Fields: under(at, "schedulingGroup")},
		{Name: "EvictionRequestAPI", Fields: under(at, "evictionResponders")},
		{Name: "EmptyDirVolumeMode", Fields: under(at, "volumes[*].emptyDir.mode")},
		{Name: "VolumeBindMountOptions", Fields: across(containers, "volumeMounts[*].bindMountOptions")},
		{Name: "GRPCContainerProbeTLS", Fields: across(probes, "grpc.mode")},
		{Name: "H2CContainerProbe", Fields: append(across(probes, "httpGet.protocol"),
			across(containers, "lifecycle.postStart.httpGet.protocol", "lifecycle.preStop.httpGet.protocol")...)},
		{Name: "AtomicWriteVolumeUserFields", Fields: under(at+"volumes[*].",
			"secret.defaultUser", "secret.items[*].user",
			"configMap.defaultUser", "configMap.items[*].user",
			"downwardAPI.defaultUser", "downwardAPI.items[*].user",
			"projected.defaultUser",
			"projected.sources[*].secret.items[*].user",
			"projected.sources[*].configMap.items[*].user",
			"projected.sources[*].downwardAPI.items[*].user",
			"projected.sources[*].serviceAccountToken.user",
			"projected.sources[*].clusterTrustBundle.user",
			"projected.sources[*].podCertificate.user")},
	}
}

func podStatusFeatures() []disabled.Feature {
	return []disabled.Feature{
		{Name: "ImageVolumeWithDigest", Fields: across(
			under("status.", "containerStatuses[*].", "initContainerStatuses[*].", "ephemeralContainerStatuses[*]."), "volumeMounts[*].volumeStatus")},
		{Name: "DRANodeAllocatableResources", Fields: []string{"status.nodeAllocatableResourceClaimStatuses"}},
		{Name: "CSIVolumeHealth", Fields: []string{"status.volumeHealth"}},
	}
}

// jobFeatures are those of the specifications of Jobs, which are at the path.
func jobFeatures(at string) []disabled.Feature {
	return append(podFeatures(at+"template.spec."), disabled.Feature{Name: "WorkloadWithJob", Fields: under(at, "scheduling")})
}

func sliceFeatures() []disabled.Feature {
	return []disabled.Feature{
		{Name: "DRAPartitionableDevicesType", Fields: []string{"spec.partitionTypeAttribute"}},
		{Name: "DRAOptionalNodeOperations", Fields: []string{"spec.skipNodeOperations"}},
		{Name: "DRANodeAllocatableResources", Fields: []string{"spec.devices[*].nodeAllocatableResources"}},
		{Name: "DRADeviceCompatibilityGroups", Fields: []string{"spec.devices[*].consumesCounters[*].compatibilityGroups"}},
		{Name: "DRAListTypeAttributes", Fields: under("spec.devices[*].attributes[*].", "bools", "ints", "strings", "versions")},
	}
}

// claimFeatures are those of what a claim asks for, which is at the path.
func claimFeatures(at string) []disabled.Feature {
	return []disabled.Feature{{Name: "DRADerivedAttributes", Fields: under(at+"devices.requests[*].",
		"exactly.derivedAttributes", "firstAvailable[*].derivedAttributes")}}
}

// under returns the paths of fields below a path.
func under(at string, fields ...string) []string { return across([]string{at}, fields...) }

// across returns the paths of fields below each of some paths.
func across(at []string, fields ...string) []string {
	var out []string
	for _, a := range at {
		for _, f := range fields {
			out = append(out, a+f)
		}
	}
	return out
}
