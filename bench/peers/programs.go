package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
)

// unusedControllers are Navarch's that have no part in what is measured, or of
// which the same is not running beside it: both sides run those of Deployments
// and ReplicaSets.
var unusedControllers = []string{
	"replicationcontroller", "statefulset", "daemonset", "job", "cronjob", "disruption", "staledisruption", "horizontalpodautoscaler",
	"endpointslice", "endpoints", "endpointslicemirroring", "persistentvolume", "localpath", "ephemeralvolume", "pvcprotection",
	"pvprotection", "vacprotection", "namespace", "resourcequota", "garbagecollector", "nodelifecycle", "serviceaccount", "serviceaccounttoken",
	"bootstraptoken", "clusterroleaggregation", "certificateapproving", "certificatecleaning", "podgc", "nodeipam",
	"resourceclaim", "resourceclaimrelease", "devicetainteviction", "customresourcedefinition", "servicecidr", "ipaddress",
}

// startNavarch starts the control plane, all of it in one process.
func (p *peers) startNavarch(ctx context.Context, s *server, e endpoints, a arrangement) error {
	grpcPort, err := freePort(ctx)
	if err != nil {
		return err
	}
	args := []string{
		"control-plane", "--etcd-endpoints=" + e.client, "--listen=127.0.0.1:" + grpcPort, "--gateway-listen=127.0.0.1:" + e.port,
		"--log-level=warn", "--ca-file=" + e.file("ca.crt"), "--cert-file=" + e.file("store.crt"), "--key-file=" + e.file("store.key"),
		"--service-account-key-file=" + e.file("service-account.key"), "--debug-address-file=" + e.file("debug"),
	}
	switch a {
	case full:
		args = append(args, "--controller-disable-controllers="+strings.Join(unusedControllers, ","))
	case compared:
		idle := slices.DeleteFunc(slices.Concat(unusedControllers, []string{"deployment", "replicaset", "validatingadmissionpolicystatus"}), func(c string) bool { return c == "customresourcedefinition" })
		args = append(args, "--without=scheduler", "--controller-disable-controllers="+strings.Join(idle, ","))
	default:
		args = append(args, "--without=scheduler,controller")
	}
	if err := p.startProgram(s, p.command(ctx, "navarch", args...), e); err != nil {
		return err
	}
	return s.ready(ctx, e)
}

// startKube starts Kubernetes' programs. Its scheduler and controllers are the
// API's administrator, whom no rule and no limit of requests slows.
func (p *peers) startKube(ctx context.Context, s *server, e endpoints, a arrangement) error {
	if err := writePublicKey(e.file("service-account.key"), e.file("service-account.pub")); err != nil {
		return err
	}
	err := p.startProgram(s, p.command(ctx, "peers/kube-apiserver", "--etcd-servers="+e.client, "--bind-address=127.0.0.1", "--secure-port="+e.port,
		"--client-ca-file="+e.file("ca.crt"), "--tls-cert-file="+e.file("store.crt"), "--tls-private-key-file="+e.file("store.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+e.file("service-account.pub"),
		"--service-account-signing-key-file="+e.file("service-account.key"), "--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--allow-privileged=true", "--cert-dir="+e.file("kube")), e)
	if err != nil {
		return err
	}
	if err := s.ready(ctx, e); err != nil || a != full {
		return err
	}
	if err := writeKubeconfig(e); err != nil {
		return err
	}
	// Their own limits of requests would be what is measured otherwise.
	clients := []string{"--kubeconfig=" + e.file("kubeconfig"), "--kube-api-qps=100000", "--kube-api-burst=100000", "--leader-elect=false"}
	scheduler := append([]string{"--secure-port=0"}, clients...)
	controllers := append([]string{
		"--secure-port=0", "--controllers=deployment-controller,replicaset-controller",
		"--service-account-private-key-file=" + e.file("service-account.key"),
	}, clients...)
	if err := p.startProgram(s, p.command(ctx, "peers/kube-scheduler", scheduler...), e); err != nil {
		return err
	}
	return p.startProgram(s, p.command(ctx, "peers/kube-controller-manager", controllers...), e)
}

// writeKubeconfig writes how the first user connects, for programs.
func writeKubeconfig(e endpoints) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: bench
contexts: [{name: bench, context: {cluster: bench, user: admin}}]
clusters: [{name: bench, cluster: {server: "https://127.0.0.1:%s", certificate-authority: %q}}]
users: [{name: admin, user: {client-certificate: %q, client-key: %q}}]
`, e.port, e.file("ca.crt"), e.file("admin.crt"), e.file("admin.key"))
	return os.WriteFile(e.file("kubeconfig"), []byte(text), 0o600)
}

// writePublicKey writes the public part of a PKCS #8 key, which is all that
// kube-apiserver reads to verify tokens.
func writePublicKey(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return fmt.Errorf("%s holds no PEM", from)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%s holds a %T, which has no public key", from, key)
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("encode the public key of %s: %w", from, err)
	}
	return os.WriteFile(to, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
}
