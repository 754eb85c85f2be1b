package serviceaccount_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/serviceaccount"
)

func TestNamespaceGetsAccountAndCertificate(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(serviceaccount.New(c.Deps, []byte("PEM"))))
	c.Apply(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
	account := func(all []*corev1.ServiceAccount) bool {
		for _, a := range all {
			if a.Namespace == "team" && a.Name == "default" && a.DeletionTimestamp == nil {
				return true
			}
		}
		return false
	}
	controllertest.Await(c, "an account", account)
	certificate := func(all []*corev1.ConfigMap) bool {
		for _, cm := range all {
			if cm.Namespace == "team" && cm.Name == "kube-root-ca.crt" {
				return cm.Data["ca.crt"] == "PEM"
			}
		}
		return false
	}
	controllertest.Await(c, "the certificate", certificate)
	controllertest.Change(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "kube-root-ca.crt"}}, "",
		func(cm *corev1.ConfigMap) { cm.Data["ca.crt"] = "forged" })
	controllertest.Await(c, "the certificate restored", certificate)
	c.Remove(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "default"}}, "")
	controllertest.Await(c, "an account again", account)
}
