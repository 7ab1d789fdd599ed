// Judges a mail with npm `mailauth`; DNS answers come from a file: node mailauth.js MAIL DNS.json
// Its parts are loaded one by one: the package's front door wants a newer Node for logos that we do not look at.
const fs = require('fs');
const { dkimVerify } = require('./node_modules/mailauth/lib/dkim/verify');
const { dmarc } = require('./node_modules/mailauth/lib/dmarc');

const [mail, dns] = process.argv.slice(2);
const records = JSON.parse(fs.readFileSync(dns));

async function resolver(name, type) {
  const found = (records[name] || {})[type];
  if (!found) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
  return found;
}

(async () => {
  const found = await dkimVerify(fs.readFileSync(mail), { resolver, sender: 'ann@example.com' });
  const results = found.results.map((one) => ({ result: one.status.result, aligned: one.status.aligned, info: one.info }));
  const passed = found.results.filter((one) => one.status.result === 'pass');
  const policy = await dmarc({
    headerFrom: found.headerFrom, spfDomains: [],
    dkimDomains: passed.map((one) => ({ id: one.id, domain: one.signingDomain, aligned: one.status.aligned, underSized: false })),
    resolver,
  });
  console.log(JSON.stringify({ dkim: results, dmarc: policy && policy.status.result }));
})();
