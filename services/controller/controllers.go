package controller

import (
	"net/netip"

	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/usage"
	"navarch.dev/navarch/services/controller/apiservice"
	"navarch.dev/navarch/services/controller/bootstraptoken"
	"navarch.dev/navarch/services/controller/certificates"
	"navarch.dev/navarch/services/controller/clusterroleaggregation"
	"navarch.dev/navarch/services/controller/cronjob"
	"navarch.dev/navarch/services/controller/customresourcedefinition"
	"navarch.dev/navarch/services/controller/daemonset"
	"navarch.dev/navarch/services/controller/deployment"
	"navarch.dev/navarch/services/controller/devicetainteviction"
	"navarch.dev/navarch/services/controller/disruption"
	"navarch.dev/navarch/services/controller/endpoints"
	"navarch.dev/navarch/services/controller/endpointslice"
	"navarch.dev/navarch/services/controller/endpointslicemirroring"
	"navarch.dev/navarch/services/controller/ephemeralvolume"
	"navarch.dev/navarch/services/controller/garbagecollector"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/job"
	"navarch.dev/navarch/services/controller/localpath"
	"navarch.dev/navarch/services/controller/namespace"
	"navarch.dev/navarch/services/controller/nodeipam"
	"navarch.dev/navarch/services/controller/nodelifecycle"
	"navarch.dev/navarch/services/controller/persistentvolume"
	"navarch.dev/navarch/services/controller/podgc"
	"navarch.dev/navarch/services/controller/pvcprotection"
	"navarch.dev/navarch/services/controller/pvprotection"
	"navarch.dev/navarch/services/controller/replicaset"
	"navarch.dev/navarch/services/controller/resourceclaim"
	"navarch.dev/navarch/services/controller/resourcequota"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/controller/serviceaccount"
	"navarch.dev/navarch/services/controller/serviceaccounttoken"
	"navarch.dev/navarch/services/controller/servicecidr"
	"navarch.dev/navarch/services/controller/statefulset"
	"navarch.dev/navarch/services/controller/storageversionmigration"
	"navarch.dev/navarch/services/controller/vacprotection"
	"navarch.dev/navarch/services/controller/validatingadmissionpolicystatus"
)

// deps is what controllers are made from: what every one needs, the inventory
// for those that work on all kinds, and for the one that scales what pods use
// and the agents that know more.
type deps struct {
	runner.Deps
	// inventory returns the one that all share. It follows every object, so it
	// is made for the first that asks.
	inventory func() *inventory.Inventory
	usage     *usage.Source
	agents    usage.Dialer
}

// apiServers connects to other API servers.
func (d deps) apiServers(cfg *Config) extension.Connector {
	return extension.Connector{Services: extension.Services{Store: d.Client.Store(), Agents: d.agents}, Certificate: cfg.ProxyCertificate}
}

// factory makes one controller.
type factory struct {
	name string
	make func(deps) (*runner.Controller, error)
}

// plain is the factory of a controller that has no options.
func plain(name string, make func(runner.Deps) (*runner.Controller, error)) factory {
	return factory{name, func(d deps) (*runner.Controller, error) { return make(d.Deps) }}
}

// whole is the factory of a controller that works on all kinds.
func whole(name string, make func(runner.Deps, *inventory.Inventory) (*runner.Controller, error)) factory {
	return factory{name, func(d deps) (*runner.Controller, error) { return make(d.Deps, d.inventory()) }}
}

// controllers lists every controller that the configuration asks for.
func controllers(cfg *Config) []factory {
	all := []factory{
		plain("deployment", deployment.New),
		plain("replicaset", replicaset.New),
		plain("replicationcontroller", replicaset.NewReplicationController),
		plain("statefulset", statefulset.New),
		plain("daemonset", daemonset.New),
		plain("job", job.New),
		plain("cronjob", cronjob.New),
		plain("disruption", disruption.New),
		plain("staledisruption", disruption.NewStale),
		{"horizontalpodautoscaler", func(d deps) (*runner.Controller, error) {
			return horizontalpodautoscaler.New(d.Deps, horizontalpodautoscaler.From(d.apiServers(cfg), d.usage, d.agents))
		}},
		plain("endpointslice", endpointslice.New),
		plain("endpoints", endpoints.New),
		plain("endpointslicemirroring", endpointslicemirroring.New),
		plain("persistentvolume", persistentvolume.New),
		plain("localpath", localpath.New),
		plain("ephemeralvolume", ephemeralvolume.New),
		plain("pvcprotection", pvcprotection.New),
		plain("resourceclaim", resourceclaim.New),
		plain("resourceclaimrelease", resourceclaim.NewRelease),
		plain("devicetainteviction", devicetainteviction.New),
		plain("pvprotection", pvprotection.New),
		plain("vacprotection", vacprotection.New),
		plain("servicecidr", servicecidr.New),
		plain("ipaddress", servicecidr.NewAddresses),
		whole("namespace", namespace.New),
		whole("resourcequota", resourcequota.New),
		whole("garbagecollector", garbagecollector.New),
		{"nodelifecycle", func(d deps) (*runner.Controller, error) {
			return nodelifecycle.New(d.Deps, cfg.NodeLifecycle)
		}},
		{"serviceaccount", func(d deps) (*runner.Controller, error) { return serviceaccount.New(d.Deps, cfg.RootCA) }},
		{"serviceaccounttoken", func(d deps) (*runner.Controller, error) { return serviceaccounttoken.New(d.Deps, cfg.RootCA) }},
		{"bootstraptoken", func(d deps) (*runner.Controller, error) { return bootstraptoken.New(d.Deps, nil) }},
		plain("clusterroleaggregation", clusterroleaggregation.New),
		plain("validatingadmissionpolicystatus", validatingadmissionpolicystatus.New),
		plain("apiserviceregistration", apiservice.NewRegistration),
		whole("customresourcedefinition", customresourcedefinition.New),
		plain("storageversionmigration", storageversionmigration.New),
		{"apiserviceavailability", func(d deps) (*runner.Controller, error) {
			return apiservice.NewAvailability(d.Deps, d.apiServers(cfg))
		}},
		{"extensionauthentication", func(d deps) (*runner.Controller, error) {
			return apiservice.NewAuthentication(d.Deps, cfg.Authentication)
		}},
		plain("certificateapproving", certificates.NewApproving),
		{"certificatecleaning", func(d deps) (*runner.Controller, error) { return certificates.NewCleaning(d.Deps, nil) }},
		{"podcertificatecleaning", func(d deps) (*runner.Controller, error) { return certificates.NewPodCleaning(d.Deps, nil) }},
		{"podgc", func(d deps) (*runner.Controller, error) { return podgc.New(d.Deps, cfg.TerminatedPodThreshold) }},
	}
	if len(cfg.RootCA) > 0 {
		all = append(all, factory{"trustbundlepublishing", func(d deps) (*runner.Controller, error) {
			return certificates.NewPublishing(d.Deps, cfg.RootCA)
		}})
	}
	if cfg.Signing.Authority != nil {
		all = append(all, factory{"certificatesigning", func(d deps) (*runner.Controller, error) {
			return certificates.NewSigning(d.Deps, cfg.Signing)
		}})
	}
	if prefix, err := netip.ParsePrefix(cfg.ClusterCIDR); err == nil {
		ipam := nodeipam.Config{ClusterCIDR: prefix.Masked(), NodeMaskSize: cfg.NodeCIDRMaskSize}
		all = append(all, factory{"nodeipam", func(d deps) (*runner.Controller, error) { return nodeipam.New(d.Deps, ipam) }})
	}
	return all
}
