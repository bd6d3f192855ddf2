"""Looks at a page of `raftkv-check history --html` in Debian's chromium, and says what is there."""

import sys

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

options = Options()
options.binary_location = "/usr/bin/chromium"
# A container has no user namespaces for the sandbox, and the page is our own.
for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--window-size=1400,900"):
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
try:
    browser.get("file://" + sys.argv[1])
    bars = browser.find_elements(By.CSS_SELECTOR, ".op[data-line]")
    counts = [len(browser.find_elements(By.CSS_SELECTOR, f".{kind}[data-line]"))
              for kind in ("fits", "shows")]
    print(f"bars {len(bars)}, fits {counts[0]}, shows {counts[1]}")

    bad = browser.find_element(By.CSS_SELECTOR, ".impossible[data-line]")
    red, green, blue = (int(part) for part in
                        bad.value_of_css_property("background-color").split("(")[1].rstrip(")")
                        .split(",")[:3])
    others = [bar for bar in bars if bar != bad]
    right = all(bar.rect["x"] + bar.rect["width"] <= bad.rect["x"] for bar in others)
    print(f"impossible: line {bad.get_attribute('data-line')}, "
          f"{'red' if red > 180 and green < 80 and blue < 80 else 'not red'}, "
          f"{'right of all that returned before' if right else 'in the wrong place'}")

    details = bad.find_element(By.TAG_NAME, "span")
    print("hidden before:", not details.is_displayed())
    ActionChains(browser).move_to_element(bad).perform()
    print(details.text)
    print("complaints:", len(browser.get_log("browser")))
finally:
    browser.quit()
